"""The web console: a page with its files, which hold nothing, and the data that it polls."""
