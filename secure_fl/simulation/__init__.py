"""A federation in one program: parties, rounds, runs and their records."""
