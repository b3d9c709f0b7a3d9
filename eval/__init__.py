"""Metrics, grids, figures, report and command line."""
