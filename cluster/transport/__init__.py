"""The way of operations to the owner and back: gathered, numbered, repeated, within a deadline."""
