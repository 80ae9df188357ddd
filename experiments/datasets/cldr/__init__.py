"""Parallel phrases generated from CLDR, with gold word alignments."""
