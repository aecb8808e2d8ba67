"""Merging data files: which, how their schemas agree, and where their rows went."""
