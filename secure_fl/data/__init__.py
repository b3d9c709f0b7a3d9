"""Data sets, preprocessing and partition among hospitals."""
