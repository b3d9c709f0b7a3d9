"""Who takes part, and their keys."""
