"""Typed settings of an experiment, and how YAML and the command line become them."""
