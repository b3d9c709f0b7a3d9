"""Audit of a run folder."""
