"""The lineage of attention, trained side by side on the embedded phrases."""
