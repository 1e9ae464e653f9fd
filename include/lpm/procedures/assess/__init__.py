"""Measure the source and its surroundings, read-only, and judge by it what stakeholders told us."""
