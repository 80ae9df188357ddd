"""The folder of a run on disk: config, metrics, checkpoints; and its processes.

Nothing here trains (`training`), loads data (`datasets`) or talks to the user (`cli`).
"""
