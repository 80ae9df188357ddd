"""Benchmarks of speed: attnjax beside its peers, on named shapes, in one process.

`commands` is the command line, `cases` has one file per table, `peers` the same
computations in other libraries; what both need lies here. Timings only: accuracy is
measured by the experiments themselves.
"""
