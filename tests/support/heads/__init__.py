"""Clusters whose head may die: its state lives in a Redis-like server, and everything is a process of its own."""
