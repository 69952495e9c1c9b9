"""How one cell and its trials run under Hydra."""
