"""The CrypTen extension: shared backend, bit-sliced circuits, nodes and dealer."""
