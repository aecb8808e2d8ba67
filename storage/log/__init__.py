"""The log and its manifests: entries, committing, opening, collecting."""
