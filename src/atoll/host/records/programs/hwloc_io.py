"""A host in the XML that hwloc writes (``lstopo x.xml``): functions, what stands above them, and nothing more.

Source: hwloc ``hwloc/topology-xml.c`` (``pci_busid``; ``pci_type``: class without interface, ids, subsystem's ids,
revision, since 3.0 the interface; ``bridge_type`` 0-1: a root bus, 1-1: a bridge, with ``bridge_pci`` its buses),
``hwloc_add_uname_info`` (``Architecture`` and ``OSRelease``), ``hwloc_linux_parse_cpuinfo`` (``PlatformName``) and
``doc/hwloc.doxy``, "I/O Devices": by default functions of unimportant classes, and bridges without anything below, are
left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from atoll.host.fact import Known, Unknown
from atoll.host.gap import Gap
from atoll.host.links.told import CONTRADICTED
from atoll.host.links.xml import Element
from atoll.host.model import Function, Host, Platform
from atoll.host.records.bare import bare_function
from atoll.host.records.hexadecimal import hexadecimal, pair
from atoll.host.records.pasted.boot_log import release_of
from atoll.host.records.platform import both_platforms, platform_by_machine
from atoll.host.records.shown import Shown, Standing, host_of_shown
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import HeaderType

__all__ = ["read_hwloc"]

_OF_MACHINES = ("Architecture", "OSName", "OSRelease", "PlatformName")
_LONE = "hwloc shows no multifunction bit, and leaves functions out"
_LEFT_OUT = Gap(
    "functions that hwloc holds for unimportant, and bridges without anything below",
    "lstopo leaves them out",
    "record the host with atoll capture",
)


def read_hwloc(root: Element, *, name: str) -> Host:
    """Return the host that a ``topology`` shows. Raises InputError where it has no PCI function."""
    shown = Shown.of(name)
    waiting = [(root, Standing())]
    while waiting:
        element, here = waiting.pop()
        kind = element.attributes.get("type")
        below = here
        if element.attributes.get("bridge_type", "").startswith("0-"):
            below = _root_bus(element)
        elif kind in ("PCIDev", "Bridge"):
            function = _function(element, shown.name)
            if function is None:
                # What stands below it does not stand right below what is above it.
                below = Standing()
            else:
                shown.add(function, here)
                below = Standing(function.address, True, here.host_bridge)
        waiting += [(child, below) for child in reversed(element.children)]
    host = host_of_shown(shown, path=name, lone=_LONE, left_out=(_LEFT_OUT,), no_groups="hwloc shows no IOMMU groups")
    told, gaps = _machine(root)
    release = release_of(told.get("OSRelease", "")) if told.get("OSName") == "Linux" else None
    return replace(
        host,
        platform=_platform(told, host.platform),
        kernel=Unknown(f"{shown.name}: it does not tell the kernel's release")
        if release is None
        else Known(release, shown.name),
        gaps=(*host.gaps, *gaps),
    )


def _machine(root: Element) -> tuple[dict[str, str], list[Gap]]:
    """Return what is told of the machine as a whole; what it tells twice and otherwise is empty, and a gap."""
    machines = [root, *(element for element in root.children if element.attributes.get("type") == "Machine")]
    told: dict[str, str] = {}
    gaps: list[Gap] = []
    for info in (info for element in machines for info in element.all("info")):
        key, value = info.attributes.get("name", ""), info.attributes.get("value", "")
        known = told.setdefault(key, value)
        if known != value and key in _OF_MACHINES:
            told[key] = ""
            if known:
                gaps.append(Gap(f"{key} of the machine", f"it says {known}, but also {value}", CONTRADICTED))
    return told, gaps


def _platform(told: Mapping[str, str], by_bridges: Platform) -> Platform:
    if any(told.get(key) == "" for key in ("PlatformName", "Architecture")):
        return Platform.UNKNOWN
    if told.get("PlatformName") == "PowerNV":
        return Platform.POWERNV
    machine = platform_by_machine(told.get("Architecture", ""))
    return by_bridges if machine is None else both_platforms(machine, by_bridges) or machine


def _root_bus(element: Element) -> Standing:
    """Where ``bridge_pci`` is ``0000:[00-1f]``: right below the root bus ``pci0000:00``."""
    domain, colon, buses = element.attributes.get("bridge_pci", "").partition(":[")
    first = buses.partition("-")[0]
    if not colon or hexadecimal(domain, 8) is None or len(first) != 2 or hexadecimal(first, 2) is None:
        return Standing()
    return Standing(None, True, f"pci{domain}:{first}")


def _function(element: Element, source: str) -> Function | None:
    words = element.attributes.get("pci_type", "").replace("[", " ").replace("]", " ").split()
    kind = hexadecimal(words[0], 4) if 3 <= len(words) <= 5 else None
    ids = pair(words[1]) if kind is not None else None
    try:
        address = Address.parse(element.attributes.get("pci_busid", ""))
    except ValueError:
        return None
    if kind is None or ids is None:
        return None
    subsystem = pair(words[2])
    revision = hexadecimal(words[3], 2) if len(words) > 3 else None
    interface = hexadecimal(words[4], 2) if len(words) > 4 else None
    function = bare_function(address, ids, kind << 8 | (interface or 0), f"{source}: hwloc does not show it")
    changes: dict[str, Any] = {}
    if revision is not None:
        changes["revision"] = Known(revision, source)
    if element.attributes.get("type") == "Bridge" and kind == DeviceClass.PCI_BRIDGE:
        # hwloc makes a bridge of what has this class and a bridge's header (hwloc_pcidisc_check_bridge_type).
        changes["header"] = Known(HeaderType.BRIDGE, source)
        changes["bridge"] = Unknown(f"{source}: hwloc shows a bridge's buses, not its windows")
    elif subsystem is not None:
        changes["subsystem"] = Known(subsystem, source)
    return replace(
        function,
        acs=Unknown(f"{source}: hwloc does not show configuration space"),
        driver=Unknown(f"{source}: hwloc shows no drivers"),
        **changes,
    )
