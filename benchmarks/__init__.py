"""Measurements: ``python -m benchmarks.NAME [--quick] [--out DIR]`` prints a table and saves CSV and JSON."""
