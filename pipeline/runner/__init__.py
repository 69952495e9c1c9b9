"""How DVC is driven: scheduler, progress, status, code digests, lock repair."""
