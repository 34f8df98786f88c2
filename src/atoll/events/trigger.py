"""Who or what can make an event happen."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Trigger"]


class Trigger(StrEnum):
    """Who or what makes an event happen."""

    TENANT = "tenant"
    """A cluster's owner, with its own devices: guest reset, reboot, closing and opening again."""
    HOST = "host"
    """The host's administrator or a program of the host: resets through sysfs, remove and rescan, rebinding."""
    MACHINE = "machine"
    """The machine itself: suspend, loss of power, error recovery, hot-plug."""
