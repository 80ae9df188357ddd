"""The CMU Pronouncing Dictionary, read from its original file."""
