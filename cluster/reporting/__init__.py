"""What a client tells of its work: to hooks, to the log, and in numbers."""
