"""A database behind an HTTP gateway: the same methods, without Ray."""
