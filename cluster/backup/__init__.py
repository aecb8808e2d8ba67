"""Backups of a whole database, from the process that asks: no owner is needed or asked, and no Ray."""
