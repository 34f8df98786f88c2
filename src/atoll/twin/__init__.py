"""Simulated machines: the second opinion on fabric and isolation."""
