"""From the name of a random machine to its declaration."""

from __future__ import annotations

import random
from collections.abc import Callable

from atoll.twin.error import TwinError
from atoll.twin.machines.random.ari import with_ari_switches, with_function_groups
from atoll.twin.machines.random.arm import with_arm
from atoll.twin.machines.random.asleep import with_sleepers
from atoll.twin.machines.random.atomic import with_atomics
from atoll.twin.machines.random.board import with_board
from atoll.twin.machines.random.fabric import Fabric
from atoll.twin.machines.random.firmware import with_firmware
from atoll.twin.machines.random.fixed import with_fixed
from atoll.twin.machines.random.hive import with_hives
from atoll.twin.machines.random.kind import PREFIX, MachineKind
from atoll.twin.machines.random.legacy import with_legacy
from atoll.twin.machines.random.multicast import with_multicast
from atoll.twin.machines.random.portal import with_portals
from atoll.twin.machines.random.ports import with_ports
from atoll.twin.machines.random.powernv import with_powernv
from atoll.twin.machines.random.resizable import with_resizable
from atoll.twin.machines.random.tables import with_tables
from atoll.twin.spec import Blueprint

__all__ = ["KERNELS", "machine"]

KERNELS = ("6.12", "6.1")
"""The kernels that they run, the default first."""

_PLUGGED: dict[MachineKind, Callable[[Blueprint, random.Random], Blueprint]] = {
    MachineKind.LEGACY: with_legacy,
    MachineKind.PORTS: with_ports,
    MachineKind.BOARD: with_board,
    MachineKind.ARM: with_arm,
    MachineKind.ARI: with_ari_switches,
    MachineKind.POWERNV: with_powernv,
    MachineKind.HIVE: with_hives,
}
"""What is changed before it is known what decodes which addresses."""
_SET_UP: dict[MachineKind, Callable[[Blueprint, random.Random], Blueprint]] = {
    MachineKind.MULTICAST: with_multicast,
    MachineKind.RESIZABLE: with_resizable,
    MachineKind.ATOMIC: with_atomics,
    MachineKind.ASLEEP: with_sleepers,
    MachineKind.TABLES: with_tables,
    MachineKind.PORTAL: with_portals,
    MachineKind.FIXED: with_fixed,
    MachineKind.ARI: with_function_groups,
}
"""What is changed afterwards."""
_STREAMS = {MachineKind.PORTAL: "portals"}
"""What the streams of chance are called, where not as the kind."""
_MOST_DIGITS = 18


def machine(name: str, kernel: str, links: bool) -> Blueprint:
    """Return the machine that a name of this kind stands for. TwinError for a seed that is no number."""
    kind = next(kind for kind in MachineKind if name.endswith(kind))
    seed = name.removeprefix(PREFIX).removesuffix(kind)
    if not (seed.isascii() and seed.isdecimal() and len(seed) <= _MOST_DIGITS):
        raise TwinError(
            f"no such twin: {name!r}", hint=f"{PREFIX} takes a decimal number of at most {_MOST_DIGITS} digits"
        )
    number = int(seed)
    more = random.Random(f"atoll {_STREAMS.get(kind, kind[1:])} {number}")
    grown = Fabric(random.Random(f"atoll fabric {number}"), kind, more, hidden=random.Random(f"atoll volumes {number}"))
    plan = grown.blueprint(name, kernel, links)
    if kind in _PLUGGED:
        plan = _PLUGGED[kind](plan, more)
    plan = with_firmware(plan, random.Random(f"atoll decoding {number}"))
    return _SET_UP[kind](plan, more) if kind in _SET_UP else plan
