"""The one trainer: fit, its loop, metrics, interrupts, optimiser and schedule.

It knows no model and no data set: those belong to each experiment.
"""
