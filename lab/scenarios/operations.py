"""Operations on a machine, and what is visible of it afterwards: the same code on a twin and on a running machine.

Both are :class:`atoll.act.machine.Machine`. Configuration space is compared by its registers' meaning, as a twin has
them at other offsets.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Literal

from atoll.act.machine import Lease, Machine
from atoll.pci.acs import read_acs
from atoll.pci.address import Address
from atoll.pci.capability import CapabilityId
from atoll.pci.config import ConfigSpace
from atoll.pci.header import Command, HeaderType, PortType
from atoll.vfio import VfioError

__all__ = ["FILES", "Kind", "Operation", "differences", "perform", "visible"]

Kind = Literal["write", "acs", "command", "open", "close", "vfio-reset"]
Operation = tuple[Kind, str, str]
"""``write``: path and text. ``acs`` and ``command``: address and the new control or command word. The rest: address."""

FILES = frozenset(
    {
        *("config", "resource", "vendor", "device", "class", "revision", "modalias", "uevent", "irq", "numa_node"),
        *("driver_override", "enable", "remove", "rescan", "reset", "reset_method", "reset_subordinate"),
        *("driver", "iommu_group", "iommu", "subsystem", "power_state", "ari_enabled", "pci_bus"),
        *("secondary_bus_number", "subordinate_bus_number", "current_link_speed", "max_link_speed"),
    }
)
"""Files of a device's folder whose presence is compared."""

_OF_ENDPOINTS = frozenset({"reset", "reset_method"})
"""Resetting a bridge by its own file loses what is below it: a twin has none for bridges."""
_FOLDER = "sys/bus/pci/devices"
_DRIVERS = ("nvme", "pcieport", "vfio-pci")
_BUSES, _BRIDGE_CONTROL, _SECONDARY_RESET = 0x18, 0x3E, 0x40


def perform(machine: Machine, leases: dict[str, Lease], operation: Operation) -> str:
    """Carry an operation out; return ``ok`` or the name of the error."""
    kind, where, what = operation
    try:
        if kind == "write":
            machine.write(where, what.encode())
        elif kind == "acs":
            acs = read_acs(_config(machine, where), 0, 0)
            assert acs is not None
            machine.write(f"{_FOLDER}/{where}/config", int(what, 16).to_bytes(2, "little"), offset=acs.control_offset)
        elif kind == "command":
            machine.write(f"{_FOLDER}/{where}/config", int(what, 16).to_bytes(2, "little"), offset=4)
        elif kind == "open":
            leases[where] = machine.lease_vfio(Address.parse(where), holder="atoll-hold:lab")
        elif kind == "close":
            leases.pop(where).close()
        else:
            leases[where].reset()
    except (OSError, VfioError) as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def visible(machine: Machine, addresses: Iterable[str]) -> dict[str, dict[str, object]]:
    """Return what is to be seen of these functions: nothing of those that are not there."""
    wanted = set(addresses)
    present = sorted(wanted & set(machine.list(_FOLDER)))
    found = {address: _function(machine, address, wanted) for address in present}
    bound = {name: wanted & set(_listed(machine, f"sys/bus/pci/drivers/{name}")) for name in _DRIVERS}
    return {**found, "drivers": {name: sorted(devices) for name, devices in bound.items()}}


def differences(one: Mapping[str, object], other: Mapping[str, object], at: str = "") -> list[str]:
    """Return what differs, as ``path: one, other``."""
    found = []
    for key in sorted({*one, *other}):
        left, right = one.get(key), other.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += differences(left, right, f"{at}{key} ")
        elif left != right:
            found.append(f"{at}{key}: {left!r}, {right!r}")
    return found


def _function(machine: Machine, address: str, wanted: set[str]) -> dict[str, object]:
    folder = f"{_FOLDER}/{address}"
    names = set(machine.list(folder))
    config = _config(machine, address)
    command = config.command
    group = None
    told: dict[str, object] = {}
    if "iommu_group" in names:
        group = machine.readlink(f"{folder}/iommu_group").rpartition("/")[2]
        told["mates"] = sorted(wanted & set(machine.list(f"{folder}/iommu_group/devices")))
        told["type"] = _text(machine, f"{folder}/iommu_group/type")
        told["vfio file"] = group in machine.list("dev/vfio")
    acs = read_acs(config, 0, 0)
    power = config.find(CapabilityId.POWER)
    is_bridge = config.header_type is HeaderType.BRIDGE
    if is_bridge:
        told["buses"] = [config.byte(_BUSES + number) for number in range(3)]
        told["holds in reset"] = bool(config.byte(_BRIDGE_CONTROL) & _SECONDARY_RESET)
    return {
        **told,
        "files": {name: name in names for name in sorted(FILES - (_OF_ENDPOINTS if is_bridge else set()))},
        "driver": machine.readlink(f"{folder}/driver").rpartition("/")[2] if "driver" in names else None,
        "override": _text(machine, f"{folder}/driver_override"),
        "enable": _text(machine, f"{folder}/enable") != "0",
        "methods": _text(machine, f"{folder}/reset_method") if "reset_method" in names and not is_bridge else None,
        "ids": [_text(machine, f"{folder}/{name}") for name in ("vendor", "device", "class")],
        "master": None if _is_switch_port(config) else bool(command & Command.MASTER),
        "memory": bool(command & Command.MEMORY),
        "acs": None if acs is None else [int(acs.capability) & 0x7F, int(acs.control) & 0x7F],
        "power": config.word(power + 4) & 3 if power is not None else 0,
    }


def _is_switch_port(config: ConfigSpace) -> bool:
    """Bus mastering of an idle one depends on the port services that firmware leaves to the kernel: not compared."""
    express = config.find(CapabilityId.EXPRESS)
    return express is not None and config.word(express + 2) >> 4 & 0xF in (PortType.UPSTREAM, PortType.DOWNSTREAM)


def _config(machine: Machine, address: str) -> ConfigSpace:
    path = f"{_FOLDER}/{address}/config"
    return ConfigSpace(lambda offset, size: machine.read(path, offset=offset, size=size))


def _text(machine: Machine, path: str) -> str:
    return machine.read(path).decode().strip()


def _listed(machine: Machine, path: str) -> tuple[str, ...]:
    try:
        return machine.list(path)
    except FileNotFoundError:
        return ()
