"""Finding, calling and starting the actors; the clients."""
