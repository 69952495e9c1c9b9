"""Tables of trials, cells and costs from the records of a plan."""
