"""Sources of texts, file formats, subsets and batches."""
