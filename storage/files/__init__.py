"""Data files: documents as typed columns, written, cached, and read in parts."""
