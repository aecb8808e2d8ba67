"""The HTTP gateway: a FastAPI application on Ray Serve in front of the actors."""
