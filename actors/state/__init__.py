"""What an owner holds in memory of what is committed."""
