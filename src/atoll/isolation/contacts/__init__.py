"""Who touches whom in a whole host, found for many functions at once."""
