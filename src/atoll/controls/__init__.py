"""What can cut an edge of the fabric."""
