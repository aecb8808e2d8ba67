"""Looking at a whole database: health, metrics, verification."""
