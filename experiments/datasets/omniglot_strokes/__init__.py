"""Characters of fifty alphabets, drawn online."""
