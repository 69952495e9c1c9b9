"""Metrics of the tasks, their baselines and labels."""
