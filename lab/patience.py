"""How long the lab waits for what comes: only what is stuck takes so long, however slow or busy the machine is.

What waits inside a guest: ``PATIENCE`` of ``lab/guest/inside/labguest.py``.
"""

from __future__ import annotations

__all__ = ["BOOT", "END", "MESSAGE"]

BOOT = 3600.0
"""Seconds from the emulator's start to its end."""
END = 120.0
"""Seconds that a process or a thread that was told to stop may take."""
MESSAGE = 600.0
"""Seconds for which QEMU waits for whoever serves a device; after that the device is dead to it."""
