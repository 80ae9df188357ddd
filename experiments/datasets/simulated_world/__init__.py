"""A small simulated world: actors move between rooms, pick things up and drop them."""
