"""The public client, for synchronous use and for coroutines."""
