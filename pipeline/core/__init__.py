"""What every layer uses: errors, paths, records, checksums, YAML, redaction."""
