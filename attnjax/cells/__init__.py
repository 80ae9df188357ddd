"""One time step each, ready for `lax.scan`."""
