"""What happened: hooks, and the spans, metrics and logs made from them."""
