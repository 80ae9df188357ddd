"""`python -m experiments.translate`: see `--help`."""

from experiments.translate.commands import main

if __name__ == "__main__":
    main()
