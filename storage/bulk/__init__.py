"""Bulk loads: documents by the column, into files that one log entry makes real."""
