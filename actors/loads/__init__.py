"""Bulk loads as the owner sees them: terms, checks, one entry."""
