"""Users in files: NDJSON and CSV."""
