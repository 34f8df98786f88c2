"""ACS capabilities as chance gives them to ports and devices."""

from __future__ import annotations

import random
from dataclasses import dataclass

from atoll.pci.acs import AcsFlag
from atoll.twin.machines.intel import PORT_ACS

__all__ = ["DEVICE_ACS", "NO_ACS", "Controls", "device_controls", "port_controls"]

DEVICE_ACS = AcsFlag.RR | AcsFlag.CR | AcsFlag.DT
"""What functions of one device can have (7.7.11.2: the others are for ports alone)."""
_DEVICE_EGRESS = 8


@dataclass(frozen=True, slots=True)
class Controls:
    """An ACS capability, or none."""

    acs: AcsFlag | None = None
    enhanced: bool = False
    egress_bits: int = 0


NO_ACS = Controls()


def port_controls(dice: random.Random) -> Controls:
    """Return a root port's or downstream port's: none, the usual ones, or any."""
    roll = dice.random()
    if roll < 0.2:
        return NO_ACS
    enhanced = dice.random() < 0.2
    if roll < 0.45:
        return Controls(PORT_ACS, enhanced)
    if roll < 0.6:
        return Controls(PORT_ACS | AcsFlag.DT, enhanced)
    if roll < 0.75:
        return Controls(PORT_ACS | AcsFlag.DT | AcsFlag.EC, enhanced, 32)
    acs = AcsFlag(dice.randrange(0x80))
    return Controls(acs, enhanced, 32 if AcsFlag.EC in acs else 0)


def device_controls(dice: random.Random) -> Controls:
    """Return what functions of one device have."""
    acs = dice.choice(
        (None, None, DEVICE_ACS, AcsFlag(0), AcsFlag.RR, DEVICE_ACS | AcsFlag.EC, AcsFlag(dice.randrange(0x80)))
    )
    if acs is None:
        return NO_ACS
    acs &= DEVICE_ACS | AcsFlag.EC
    return Controls(acs, egress_bits=_DEVICE_EGRESS if AcsFlag.EC in acs else 0)
