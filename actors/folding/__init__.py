"""Folding the log into manifests and files, and merging files."""
