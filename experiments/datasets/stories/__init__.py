"""Stories with questions: their format, words as ids, arrays, batches.

The data sets are `babi.babi_builder.BAbI` and
`simulated_world.simulated_world_builder.SimulatedWorld`.
"""
