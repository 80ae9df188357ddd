"""Speed, ours beside the peers, on named shapes and in one run."""
