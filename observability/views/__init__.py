"""Views: sums over the documents of a namespace, kept up to date from its change feed."""
