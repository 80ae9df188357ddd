"""Translation: train, evaluate and use the sequence models of the lineage."""
