"""What every command line shares: commands, exit codes, checks, progress, tables.

Everything here talks to the user and nothing here reads a run or trains. Run folders
are in `runs`, the trainer is in `training`.
"""
