"""The `parquedb` command."""
