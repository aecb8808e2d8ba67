"""Copies of namespaces as of one moment, kept elsewhere: taken beside owners at work, restored into empty places."""
