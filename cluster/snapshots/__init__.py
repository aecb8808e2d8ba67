"""A namespace as of one moment, read straight from storage."""
