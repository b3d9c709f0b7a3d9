"""Shipped YAML configuration groups."""
