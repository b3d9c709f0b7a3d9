"""Stages of robust rules, one a file; the file's name is the stage's name."""
