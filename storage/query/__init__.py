"""Queries over data files: what can be skipped, what is scanned, what comes first."""
