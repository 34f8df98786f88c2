"""libvirt's node devices: one ``virsh nodedev-dumpxml``, several one after the other, or a set in one element.

Source: libvirt ``docs/formatnode.rst``, ``src/conf/node_device_conf.c`` (``virNodeDeviceCapPCIDefFormat``): numbers of
place in decimal, addresses in hexadecimal; ``iommuGroup`` lists all members; ``numa`` is left out for -1, ``driver``
where none is bound. ``pci-bridge`` is the header type. A link's port number is that of the link capabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.gap import Gap, GapKind
from atoll.host.links.xml import Element
from atoll.host.model import Function, Host
from atoll.host.place import address_of
from atoll.host.records.bare import bare_function
from atoll.host.records.hexadecimal import hexadecimal
from atoll.host.records.shown import Shown, Standing, host_of_shown, standing_of_path
from atoll.host.records.virtual import virtual_of
from atoll.pci.address import Address
from atoll.pci.header import HeaderType

__all__ = ["is_nodedev", "read_nodedev"]

_HEADERS = {"pci-bridge": HeaderType.BRIDGE, "cardbus-bridge": HeaderType.CARDBUS}
_LONE = "libvirt shows no multifunction bit, and perhaps not all functions of its slot"
_HINT = "give the output of virsh nodedev-dumpxml of every device in virsh nodedev-list --cap pci"


def is_nodedev(roots: Sequence[Element]) -> bool:
    """Whether these are libvirt's node devices."""
    return any(device.all("capability") and device.value("name") for device in _devices(roots))


def read_nodedev(roots: Sequence[Element], *, name: str) -> Host:
    """Return the host that node devices show. Raises InputError where none is a PCI function."""
    shown = Shown.of(name)
    devices = [device for root in _devices(roots) if (device := _device(root, shown.name)) is not None]
    with_groups = any(device.group for device in devices)
    with_nodes = any(isinstance(device.function.numa_node, Known) for device in devices)
    for device in devices:
        function, address = device.function, device.function.address
        if isinstance(function.numa_node, Unknown) and with_nodes:
            # Printed for every function that has one.
            function = replace(function, numa_node=Known(None, shown.name))
        shown.add(function, device.standing)
        if device.physical is not None:
            shown.physical[address] = device.physical
        for virtual in device.virtual:
            shown.physical.setdefault(virtual, address)
        if device.group is None and with_groups:
            shown.ungrouped.add(address)
    _take_groups(shown, devices)
    # A function that was only named as somebody's virtual one is not shown.
    for owner, named in sorted(
        virtual_of({a: o for a, o in shown.physical.items() if a not in shown.functions}).items()
    ):
        what = f"{len(named)} virtual function{'s' * (len(named) > 1)} of {owner} ({named[0]} first)"
        shown.gaps.append(Gap(what, f"{shown.name} names them and does not show them", _HINT))
    shown.physical = {a: owner for a, owner in shown.physical.items() if a in shown.functions and a != owner}
    return host_of_shown(shown, path=name, lone=_LONE, no_groups="libvirt shows no IOMMU group of any function")


@dataclass(frozen=True, slots=True)
class _Device:
    function: Function
    standing: Standing
    physical: Address | None
    virtual: tuple[Address, ...]
    group: tuple[int, tuple[Address, ...]] | None


def _devices(roots: Sequence[Element]) -> Iterator[Element]:
    for root in roots:
        if root.tag == "device":
            yield root
        else:
            yield from root.all("device")


def _take_groups(shown: Shown, devices: Sequence[_Device]) -> None:
    """Take the members that each function's group names; where two name one function differently, it is in neither."""
    doubted: dict[Address, tuple[int, int]] = {}
    for device in devices:
        if device.group is None:
            continue
        number, members = device.group
        for member in (*members, device.function.address):
            known = shown.group.setdefault(member, number)
            if known != number:
                doubted[member] = known, number
    for address, (one, other) in sorted(doubted.items()):
        del shown.group[address]
        why = f"{shown.name} lists it in group {one} and in group {other}"
        shown.gaps.append(Gap(f"group of {address}", why, "record it again", GapKind.GROUP, (address,)))
    shown.ungrouped -= shown.group.keys() | doubted.keys()


def _device(device: Element, source: str) -> _Device | None:
    pci = next((found for found in device.all("capability") if found.attributes.get("type") == "pci"), None)
    if pci is None:
        return None
    place = [_number(pci.value(tag), most) for tag, most in _PLACE]
    vendor, product = _id(pci, "vendor"), _id(pci, "product")
    if None in place or vendor is None or product is None:
        return None
    address = Address(*(number for number in place if number is not None))
    inner = {found.attributes.get("type", ""): found for found in pci.all("capability")}
    unread = Unknown(f"{source}: libvirt does not show it")
    header: Fact[HeaderType] = unread
    for word, kind in _HEADERS.items():
        if word in inner:
            header = Known(kind, source)
    node = next((_number(numa.attributes.get("node", ""), 0xFFFF) for numa in pci.all("numa")), None)
    driver = device.value("driver", "name")
    function = replace(
        bare_function(
            address, (vendor, product), _number(pci.value("class"), 0xFFFFFF), f"{source}: libvirt does not show it"
        ),
        header=header,
        acs=Unknown(f"{source}: libvirt does not show configuration space"),
        port_number=_port(pci, source),
        driver=Known(driver or None, source),
        numa_node=Unknown(f"{source}: libvirt shows no NUMA nodes") if node is None else Known(node, source),
    )
    physical = _addresses(inner.get("phys_function"))
    return _Device(
        function,
        _standing(device, address),
        physical[0] if physical else None,
        _addresses(inner.get("virt_functions")),
        _group(pci),
    )


_PLACE = (("domain", 0xFFFFFFFF), ("bus", 0xFF), ("slot", 31), ("function", 7))


def _standing(device: Element, address: Address) -> Standing:
    path = device.value("path")
    if path:
        last = address_of(path.rstrip("/").rpartition("/")[2])
        return standing_of_path(path) if last == address else Standing()
    above = device.value("parent")
    if above == "computer":
        return Standing(None, True, f"pci{address.domain:04x}:{address.bus:02x}")
    words = above.split("_")
    if len(words) == 5 and words[0] == "pci":
        return Standing(address_of(f"{words[1]}:{words[2]}:{words[3]}.{words[4]}"))
    return Standing()


def _group(pci: Element) -> tuple[int, tuple[Address, ...]] | None:
    for group in pci.all("iommuGroup"):
        number = _number(group.attributes.get("number", ""), 0xFFFFFFFF)
        if number is not None:
            return number, _addresses(group)
    return None


def _port(pci: Element, source: str) -> Fact[int]:
    for link in (link for express in pci.all("pci-express") for link in express.all("link")):
        number = _number(link.attributes.get("port", ""), 0xFF)
        if link.attributes.get("validity") == "cap" and number is not None:
            return Known(number, source)
    return Unknown(f"{source}: libvirt shows no link capabilities of it")


def _addresses(element: Element | None) -> tuple[Address, ...]:
    found = []
    for address in element.all("address") if element is not None else ():
        place = [_number(address.attributes.get(tag, ""), most) for tag, most in _PLACE]
        if None not in place:
            found.append(Address(*(number for number in place if number is not None)))
    return tuple(found)


def _id(pci: Element, tag: str) -> int | None:
    return next((_number(found.attributes.get("id", ""), 0xFFFF) for found in pci.all(tag)), None)


def _number(text: str, most: int) -> int | None:
    text = text.strip()
    number: int | None
    if text.startswith("0x"):
        number = hexadecimal(text[2:], 8)
    else:
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None
    return number if number is not None and number <= most else None
