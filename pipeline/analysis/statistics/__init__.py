"""Intervals, tests and selection under noise from seeds and examples."""
