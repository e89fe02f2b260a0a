"""Benchmark: measures the speed of the service. ``README.md`` explains the figures."""
