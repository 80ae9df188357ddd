"""Lines of pen strokes: what a data set gives, its alphabet and its batches."""
