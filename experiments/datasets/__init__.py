"""Data sets: tensorflow-datasets builders, tokenisers and batches."""
