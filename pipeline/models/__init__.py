"""Models: checkpoint sources, loading and saving, compressed storage, pre-training objective, FLOPs."""
