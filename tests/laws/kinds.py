"""Kinds of random machines that laws of functions and their groups try beside the plain one."""

from __future__ import annotations

from atoll.twin.machines.random import MachineKind

__all__ = ["OTHER_FUNCTIONS"]

OTHER_FUNCTIONS = (
    MachineKind.PORTS,
    MachineKind.ADAPTERS,
    MachineKind.BOARD,
    MachineKind.ARM,
    MachineKind.ARI,
    MachineKind.HIVE,
    MachineKind.POWERNV,
)
"""Those that consist of other functions, or have other IOMMUs."""
