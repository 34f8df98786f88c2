"""What to change, from what is wanted."""
