"""Measurements for the README and docs/; tools/benchmark.py runs them."""
