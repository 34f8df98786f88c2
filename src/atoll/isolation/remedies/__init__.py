"""What would change what is so between two functions."""
