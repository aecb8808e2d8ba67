"""Who calls over HTTP: tokens, API keys and rates."""
