"""Several records of one machine as one host."""
