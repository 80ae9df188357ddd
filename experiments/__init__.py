"""Everything that touches files: data, training runs, results."""
