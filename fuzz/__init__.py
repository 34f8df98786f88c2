"""Fuzzing of everything that takes bytes from strangers: ``python -m fuzz --help``."""
