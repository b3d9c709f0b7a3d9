"""Poisoning attacks, one a file."""
