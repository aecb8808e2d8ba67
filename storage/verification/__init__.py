"""Looking at all that is stored of a namespace, as a bystander: which rules hold, which are broken, and where."""
