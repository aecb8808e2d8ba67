"""What is told of an owner's work: to hooks, to the log, to whoever asks for numbers."""
