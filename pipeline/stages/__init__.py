"""One module a stage: read inputs, call the work, write outputs."""
