"""Latency, throughput, memory, energy and peak FLOP/s of a model."""
