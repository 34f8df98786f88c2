"""Emulated GPUs: the twin's registers behind a vfio-user server, a process each, with links and an attack."""
