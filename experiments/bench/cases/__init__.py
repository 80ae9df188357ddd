"""What is timed: one file per table, each runs attnjax beside its peers.

The peers' own code is in `peers`; timing, records and tables are one level up.
"""
