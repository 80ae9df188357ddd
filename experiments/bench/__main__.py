"""`python -m experiments.bench`: see `--help`."""

from experiments.memory import keep_freed_memory

if __name__ == "__main__":
    keep_freed_memory()  # of all systems alike, before any of them starts a thread

    from experiments.bench.commands import main

    main()
