"""Pure functions on arrays, one query at a time."""
