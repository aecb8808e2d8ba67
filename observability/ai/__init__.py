"""What requests to AI models were made, what they took and what they cost."""
