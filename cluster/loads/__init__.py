"""Loads whose files the caller makes and stores by itself."""
