"""How quality moves with size and data: the table, the figures and the report of a plan's results."""
