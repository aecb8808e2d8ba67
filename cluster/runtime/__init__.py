"""Ray, and which of its actors serves a namespace."""
