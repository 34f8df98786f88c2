"""What is there: the model of a host, the tree seam, and the readers."""
