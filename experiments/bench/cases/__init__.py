"""What is timed: one file per table, each with attnjax's side and the comparison.

Cases import `peers`, lazily where the package is optional. Timing and tables are one
level up.
"""
