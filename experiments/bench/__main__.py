"""`python -m experiments.bench`: see `--help`."""

import os

from experiments.cli.exit_codes import stop_quietly
from experiments.training.memory import keep_freed_memory

if __name__ == "__main__":
    stop_quietly()
    # The allocator must be set before threads start; it serves all systems alike.
    keep_freed_memory()
    # JAX and PyTorch share the GPU, so JAX must not preallocate most of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    from experiments.bench.commands import main

    main()
