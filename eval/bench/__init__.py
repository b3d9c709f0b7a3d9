"""Benchmarks: `secure-fl bench` and `secure-fl compare`."""
