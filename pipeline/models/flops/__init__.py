"""FLOPs of a model: analytic, traced and counted."""
