"""Kinds of random machines: ``random-SEED`` and a kind's word name one that has something more, or something else."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PREFIX", "MachineKind"]

PREFIX = "random-"
"""How the names of these machines begin; a decimal seed follows."""


class MachineKind(StrEnum):
    """How a random machine's name ends, and what it has beside the plain machine of its seed, or instead."""

    MULTICAST = "-multicast"
    """With Multicast in some functions."""
    FIXED = "-fixed"
    """With Enhanced Allocation in some functions, instead of base address registers."""
    PORTAL = "-portal"
    """With Flattening Portal Bridges."""
    VIRTUAL = "-virtual"
    """With virtual functions on buses beyond their physical one's."""
    LEGACY = "-legacy"
    """With CardBus bridges, and IDE controllers at fixed ports."""
    RESIZABLE = "-resizable"
    """With BARs whose size changed."""
    ASLEEP = "-asleep"
    """With ports and devices that sleep."""
    TABLES = "-tables"
    """With firmware whose tables leave some functions out, give others other names, and want memory one to one."""
    ATOMIC = "-atomic"
    """With AtomicOps."""
    PORTS = "-ports"
    """A machine of its own, with more kinds of ports and switches."""
    ADAPTERS = "-adapters"
    """A machine of its own, with adapters of several physical functions."""
    BOARD = "-board"
    """A machine of its own, with more on the root buses, and devices that Linux knows to isolate."""
    ARM = "-arm"
    """With Arm's processors and IOMMUs, and host bridges that shift addresses."""
    ARI = "-ari"
    """A machine of its own, with functions beyond 7, function groups, virtual functions at any offset and stride."""
    HIVE = "-hive"
    """With more GPUs, behind NVSwitches and in hives."""
    POWERNV = "-powernv"
    """With POWER9 processors, which translate by partitionable endpoints."""
    PLAIN = ""
    """The plain one."""
