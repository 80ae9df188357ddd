"""`python -m experiments.transduce`: see `--help`."""

from experiments.cli.exit_codes import stop_quietly
from experiments.training.memory import keep_freed_memory

if __name__ == "__main__":
    stop_quietly()
    keep_freed_memory()  # before JAX is imported and starts threads

    from experiments.transduce.commands import main

    main()
