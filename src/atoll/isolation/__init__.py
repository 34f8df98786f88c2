"""Groups, reach, proof, atoms and resilience."""
