"""Interconnect isolation for PCI devices and accelerators on Linux."""

__all__ = ["__version__"]

__version__ = "0.1.0"
