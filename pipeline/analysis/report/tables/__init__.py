"""Tables of the report, each a list of columns over rows."""
