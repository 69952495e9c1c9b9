"""The machine: hardware, processes, locks and the preload server."""
