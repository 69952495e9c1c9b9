"""Pareto fronts, limits and the recommended cell for a budget."""
