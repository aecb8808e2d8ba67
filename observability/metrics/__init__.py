"""Counting and timing what happens: the collector, its snapshots, and other programs' forms of them."""
