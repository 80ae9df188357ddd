"""flax.nnx Modules: own parameters, call cells and core. One paper, one file."""
