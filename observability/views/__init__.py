"""Tables that are made of what happened, kept up to date and kept small."""
