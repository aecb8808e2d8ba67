"""Bytes, files, the log and its manifests; knows no actor."""
