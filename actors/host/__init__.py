"""The Ray actor that hosts one namespace, and its process."""
