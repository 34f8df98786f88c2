"""Handing an address space to another process: its descriptors (SCM_RIGHTS), and a text that says which is which.

Who sends keeps its own descriptors, and both are equal: a device is reset when the last of its descriptors is
closed, a group is free when its last is, and mappings live until they are unmapped or all is closed. So the
receiver can drive, reset and map; it can't take the devices from the sender, nor the sender them from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from atoll.errors import InputError
from atoll.pci.address import Address
from atoll.vfio.container import Container
from atoll.vfio.descriptor import Descriptor
from atoll.vfio.device import Device
from atoll.vfio.errors import VfioError
from atoll.vfio.group import Group
from atoll.vfio.iommufd import IoAddressSpace
from atoll.vfio.kernel import Kernel, LiveKernel
from atoll.vfio.space import AddressSpace, Api
from atoll.vfio.uapi.container import Extension

__all__ = ["Handover", "export", "receive"]

_SCHEMA = "atoll.vfio/1"


@dataclass(frozen=True, slots=True)
class Handover:
    """What to send in one message: the text, and with it these descriptors, in this order."""

    text: str
    descriptors: tuple[int, ...]
    """Still owned by the address space: send them, do not close them."""
    space: AddressSpace = field(repr=False, compare=False)
    """Kept as long as this is: else its descriptors could be closed, and their numbers be other files', before."""


def export(space: AddressSpace, devices: Iterable[Address] | None = None) -> Handover:
    """Return what another process needs to use an address space, with all or some of its devices.

    Who gets the container or ``/dev/iommu`` can map memory for all devices behind it: give an address space to one
    owner only. Raises VfioError where nothing is open in it or a device is not.
    """
    opened = {device.address: device for device in space.devices}
    wanted = sorted(opened) if devices is None else sorted(set(devices))
    missing = [str(address) for address in wanted if address not in opened]
    if missing or not wanted:
        raise VfioError(f"not open in this address space: {', '.join(missing) or 'any device'}", hint="open it first")
    chosen = [opened[address] for address in wanted]
    if isinstance(space, Container):
        return _export_container(space, chosen)
    if isinstance(space, IoAddressSpace):
        return _export_iommufd(space, chosen)
    raise InputError(f"an address space of another kind: {type(space).__name__}", hint="open it with open_space")


def _export_container(space: Container, devices: Sequence[Device]) -> Handover:
    assert space.model is not None
    numbers = [space.descriptor.number]
    needed = {space.group_of(device) for device in devices}
    groups = []
    for group in space.groups:
        if group.number in needed:
            groups.append({"number": group.number, "noiommu": group.noiommu, "descriptor": len(numbers)})
            numbers.append(group.descriptor.number)
    told = []
    for device in devices:
        told.append({"address": str(device.address), "group": space.group_of(device), "descriptor": len(numbers)})
        numbers.append(device.fileno())
    document = {"schema": _SCHEMA, "api": Api.LEGACY, "model": int(space.model), "groups": groups, "devices": told}
    return Handover(json.dumps(document), tuple(numbers), space)


def _export_iommufd(space: IoAddressSpace, devices: Sequence[Device]) -> Handover:
    numbers = [space.descriptor.number]
    told = []
    for device in devices:
        bound = space.device_ids[device.address]
        told.append({"address": str(device.address), "id": bound, "descriptor": len(numbers)})
        numbers.append(device.fileno())
    document = {"schema": _SCHEMA, "api": Api.IOMMUFD, "ioas": space.ioas, "devices": told}
    return Handover(json.dumps(document), tuple(numbers), space)


def receive(text: str, descriptors: Sequence[int], *, kernel: Kernel | None = None) -> AddressSpace:
    """Return the address space that another process handed over, to be used in a ``with`` block.

    The descriptors are owned from here on, also where this fails: then all are closed. Raises InputError for a text
    that does not fit them, VfioError where the kernel does not answer.
    """
    used = kernel or LiveKernel()
    with ExitStack() as undo:
        owned = [Descriptor(used, number, "received descriptor") for number in descriptors]
        for descriptor in owned:
            undo.callback(descriptor.close)
        try:
            document = json.loads(text)
            if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
                raise ValueError(f"it is no {_SCHEMA} document")
            taken = _Taken(owned)
            build = _legacy if Api(document["api"]) is Api.LEGACY else _iommufd
            space = build(document, taken)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"what was handed over makes no sense: {error}", hint="sender and receiver must be the same atoll"
            ) from error
    # What the space did not take was closed; what it took is its own.
    return space


class _Taken:
    """Hands out each descriptor once."""

    def __init__(self, owned: list[Descriptor]) -> None:
        self._owned = owned
        self._used: set[int] = set()

    def check(self, index: object) -> int:
        if type(index) is not int or not 0 <= index < len(self._owned) or index in self._used:
            raise ValueError(f"descriptor {index!r} of {len(self._owned)}, each of which is for one thing")
        self._used.add(index)
        return index

    def release(self, index: int) -> int:
        return self._owned[index].release()

    @property
    def kernel(self) -> Kernel:
        return self._owned[0].kernel


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a number: {value!r}")
    return value


def _legacy(document: dict[str, Any], taken: _Taken) -> AddressSpace:
    container = taken.check(0)
    model = Extension(_number(document["model"]))
    groups = [(_number(g["number"]), g["noiommu"] is True, taken.check(g["descriptor"])) for g in document["groups"]]
    devices = {
        Address.parse(d["address"]): (_number(d["group"]), taken.check(d["descriptor"])) for d in document["devices"]
    }
    known = {number for number, _, _ in groups}
    if len(known) != len(groups) or len(devices) != len(document["devices"]):
        raise ValueError("something is named twice")
    if any(group not in known for group, _ in devices.values()):
        raise ValueError("a device's group is missing")
    kernel = taken.kernel
    return Container.rebuild(
        Descriptor(kernel, taken.release(container), "container"),
        model,
        [
            Group(Descriptor(kernel, taken.release(index), f"group {number}"), number, noiommu=noiommu)
            for number, noiommu, index in groups
        ],
        {address: (group, taken.release(index)) for address, (group, index) in devices.items()},
    )


def _iommufd(document: dict[str, Any], taken: _Taken) -> AddressSpace:
    iommu = taken.check(0)
    ioas = _number(document["ioas"])
    devices = {
        Address.parse(d["address"]): (_number(d["id"]), taken.check(d["descriptor"])) for d in document["devices"]
    }
    if len(devices) != len(document["devices"]):
        raise ValueError("something is named twice")
    kernel = taken.kernel
    return IoAddressSpace.rebuild(
        Descriptor(kernel, taken.release(iommu), "/dev/iommu"),
        ioas,
        {address: (bound, taken.release(index)) for address, (bound, index) in devices.items()},
    )
