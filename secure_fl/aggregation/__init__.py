"""Robust aggregation rules, each written once for every backend."""
