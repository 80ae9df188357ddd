"""What all command lines share: commands, exit codes, checks, progress, tables.

Everything here talks to the user. Nothing here opens a run or trains: run folders are
in `runs`, the trainer is in `training`.
"""
