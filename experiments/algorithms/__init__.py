"""Algorithms learned from examples: copying, recall, N-grams, sorting.

The five tasks of the Neural Turing Machine, generated on the fly; cells and models
live in `attnjax`, the trainer in `experiments.training`.
"""
