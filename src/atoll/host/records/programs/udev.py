"""The database of udev (``udevadm info -e``, ``--export-db``): functions, what stands above them, their drivers.

Source: systemd ``src/udev/udevadm-info.c`` (``print_record``: ``P:`` the path below /sys, ``V:`` the driver, ``E:``
properties, an empty line between records) and the kernel's uevent of a PCI function (``pci_uevent`` in Linux
``drivers/pci/pci-driver.c``: PCI_CLASS, PCI_ID, PCI_SUBSYS_ID, PCI_SLOT_NAME, MODALIAS; DRIVER from
``dev_uevent`` in ``drivers/base/core.c`` only where one is bound). It holds nothing of configuration space, and no
groups. ``-t`` draws a tree before its lines (``│ ┆ E: …``); apport's field ``UdevDb`` and posts indent them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from atoll.host.fact import Known
from atoll.host.groups import kind_of_unit
from atoll.host.model import Function, Host, IommuUnit
from atoll.host.place import address_of
from atoll.host.records.bare import bare_function
from atoll.host.records.hexadecimal import hexadecimal, pair
from atoll.host.records.pasted.lines import text_lines
from atoll.host.records.programs.modalias import parse_modalias
from atoll.host.records.shown import Shown, host_of_shown, standing_of_path
from atoll.pci.address import Address

__all__ = ["is_udev", "read_udev", "without_udev"]

_KEYS = frozenset({"DRIVER", "MODALIAS", "PCI_CLASS", "PCI_ID", "PCI_SUBSYS_ID", "SUBSYSTEM"})
_DRAWN = " \t│├└─┆"
"""What stands before a line of a tree, or of an indented database."""
_PATH = re.compile(rf"^[{_DRAWN}>]*P: /".encode(), re.MULTILINE)
_PROPERTY = re.compile(rf"^[{_DRAWN}>]*E: (?:DEVPATH|SUBSYSTEM)=".encode(), re.MULTILINE)
_UNREAD = "udev's database does not show configuration space"


def is_udev(data: bytes) -> bool:
    """Whether bytes hold a database of udev: a path of a device, and its properties."""
    # The words first: most texts have none of them.
    return b"E: " in data and _PATH.search(data) is not None and _PROPERTY.search(data) is not None


def without_udev(data: bytes, *, name: str) -> bytes:
    """Return the lines of a text that are none of a database in it."""
    around: list[str] = []
    inside = False
    for line in text_lines(data, name=name):
        bare = line.lstrip(_DRAWN)
        keyed = bare[:1].isupper() and bare[1:3] == ": "
        inside = keyed and (inside or bare.startswith("P: /"))
        if not inside:
            around.append(line)
    return "\n".join(around).encode()


def read_udev(data: bytes, *, name: str) -> Host:
    """Return the host that a database shows. Raises InputError for one without PCI functions, or too long a one."""
    shown = Shown.of(name)
    units: dict[str, str] = {}
    for path, properties in _records(data, name):
        subsystem = properties.get("SUBSYSTEM")
        if subsystem == "pci":
            _add(shown, path, properties)
        elif subsystem == "iommu":
            unit = path.rpartition("/")[2]
            units[unit] = kind_of_unit(unit) or "unknown"
    shown.units = tuple(IommuUnit(unit, units[unit]) for unit in sorted(units))
    return host_of_shown(shown, path=name, no_groups="udev's database shows no IOMMU groups")


def _records(data: bytes, name: str) -> Iterator[tuple[str, dict[str, str]]]:
    path, properties = "", dict[str, str]()
    for line in (line.lstrip(_DRAWN) for line in text_lines(data, name=name)):
        key, colon, value = line[:1], line[1:3] == ": ", line[3:]
        if not line or (colon and key == "P"):
            if path:
                yield path, properties
            path, properties = (value if line else ""), {}
        elif colon and key == "E":
            word, _, told = value.partition("=")
            if word in _KEYS:
                properties.setdefault(word, told)
        elif colon and key == "V":
            properties.setdefault("DRIVER", value)
    if path:
        yield path, properties


def _add(shown: Shown, path: str, properties: dict[str, str]) -> None:
    address = address_of(path.rstrip("/").rpartition("/")[2])
    ids = pair(properties.get("PCI_ID", ""))
    kind = hexadecimal(properties.get("PCI_CLASS", ""), 6)
    subsystem = pair(properties.get("PCI_SUBSYS_ID", ""))
    alias = parse_modalias(properties.get("MODALIAS", ""))
    if alias is not None:
        ids = ids or (alias.vendor, alias.device)
        kind = alias.class_code if kind is None else kind
        subsystem = subsystem or alias.subsystem
    if address is None or ids is None:
        return
    shown.add(_function(address, ids, kind, subsystem, properties.get("DRIVER"), shown.name), standing_of_path(path))


def _function(
    address: Address,
    ids: tuple[int, int],
    kind: int | None,
    subsystem: tuple[int, int] | None,
    driver: str | None,
    source: str,
) -> Function:
    function = bare_function(address, ids, kind, f"{source}: {_UNREAD}")
    told = function.subsystem if subsystem is None else Known(subsystem, source)
    return replace(function, subsystem=told, driver=Known(driver or None, source))
