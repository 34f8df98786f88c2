"""Where steps are carried out: the machine, what it was like when the work began, and what is permitted on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.pace import Pace
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint

__all__ = ["Site", "State", "Value"]

Value: TypeAlias = str | int | list[int] | list[str] | None
State: TypeAlias = dict[str, Value]
"""What a step found or left, as it goes into the journal."""


@dataclass(frozen=True, slots=True)
class Site:
    """One machine under work."""

    machine: Machine
    host: Host
    """As it was read when the work began."""
    fingerprints: Mapping[Address, str] = field(default_factory=dict)
    leased: frozenset[Address] = frozenset()
    """Devices that these steps open for a holder, or have opened: closing them is the undo."""
    pace: Pace = field(default_factory=Pace)

    def check_fingerprint(self, address: Address) -> None:
        """Raise Failure where a function is not the one that was planned for."""
        planned = self.fingerprints.get(address)
        found = fingerprint(device.read_function(self.machine, address))
        if planned is None:
            raise Failure(f"the plan does not say what {address} is known by")
        if planned != found:
            raise Failure(f"{address} is not the device that was planned for: {found}, planned: {planned}")
