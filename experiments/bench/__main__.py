"""`python -m experiments.bench`: see `--help`."""

import os

from experiments.training.memory import keep_freed_memory

if __name__ == "__main__":
    keep_freed_memory()  # of all systems alike, before any of them starts a thread
    # A GPU's memory is for all systems: JAX shall not take most of it beforehand.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    from experiments.bench.commands import main

    main()
