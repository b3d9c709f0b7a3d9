"""Federated learning under attack, aggregated under secure multi-party computation."""
