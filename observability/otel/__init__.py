"""OpenTelemetry as a hook: spans, metrics and log records in its words, and sending them to a collector."""
