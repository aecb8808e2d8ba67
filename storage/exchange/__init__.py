"""Files that are imported and exported: CSV, JSON lines, Parquet."""
