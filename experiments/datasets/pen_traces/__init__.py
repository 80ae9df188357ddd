"""Lines of writing that are generated: every letter is a few curves."""
