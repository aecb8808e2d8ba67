"""Stores and the layers around them: directory, memory, S3; retries, faults, probes."""
