"""What runs at a computing node and at the dealer."""
