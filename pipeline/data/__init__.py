"""Tasks, subsets and corpora: everything that ends as a table of texts."""
