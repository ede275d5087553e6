"""What this service knows of others' data."""
