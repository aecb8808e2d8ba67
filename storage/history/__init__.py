"""The past of a namespace: segments of folded log entries, and how long they are kept."""
