"""The folder of a run: config, metrics log, checkpoints, and processes that share it.

Nothing here knows how a run is trained (`training`) or what its data are (`datasets`).
"""
