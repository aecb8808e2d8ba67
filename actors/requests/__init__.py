"""What callers ask of a namespace: operations, their arguments checked, and how they travel."""
