"""Several versions of this package at work on one database: checkouts of its history, each in processes of its own."""
