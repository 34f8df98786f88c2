"""VFIO from Python: the kernel's user API, and the vfio-user protocol."""
