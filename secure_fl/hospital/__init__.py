"""What runs at a hospital: training, privacy, what it hands in."""
