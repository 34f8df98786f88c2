"""Functions that the host itself needs: what carries mounted file systems, swap, the default route, the console.

Source: proc_pid_mountinfo(5), proc_swaps(5), ``/proc/net/route`` (``net/ipv4/fib_trie.c``) and
``/proc/net/ipv6_route``; ``boot_vga`` in Linux ``Documentation/ABI/testing/sysfs-bus-pci``. What they name is
traced to functions in ``carriers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from atoll.host.attribute import names, text
from atoll.host.carriers import block_device, carriers, device_number, network_device
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.gap import Gap
from atoll.host.model import Function
from atoll.host.tree import Tree
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass

__all__ = ["read_essential"]

_HINT = "record the host with atoll capture"
_UP, _REJECT = 0x1, 0x200
"""Route flags: ``RTF_UP`` and ``RTF_REJECT`` in ``uapi/linux/route.h``."""


@dataclass(frozen=True, slots=True)
class _Need:
    reason: str
    device: str
    """What the source calls it."""
    path: str | None
    """Its entry in sysfs, None where there is none."""


def read_essential(
    tree: Tree, functions: Mapping[Address, Function], folders: Mapping[Address, str]
) -> tuple[dict[Address, str], tuple[Gap, ...]]:
    """Return the functions with the reasons each, and what could not be traced to a function."""
    found: dict[Address, list[str]] = {}
    gaps: list[Gap] = []
    missing: list[str] = []
    for needs in (_mounts(tree), _swaps(tree), _routes(tree)):
        if isinstance(needs, Unknown):
            missing.append(needs.reason)
            continue
        for need in needs.value:
            if need.path is None:
                gaps.append(Gap(f"{need.reason}: {need.device}", "its device is not in sysfs here", _HINT))
                continue
            for address in carriers(tree, need.path):
                for function, reason in _with_makers(functions, address, need.reason):
                    found.setdefault(function, []).append(reason)
    if missing:
        gaps.append(Gap("functions that the host itself needs", "; ".join(missing), _HINT))
    for address in functions:
        if functions[address].base_class == BaseClass.DISPLAY:
            shown = text(tree, f"{folders[address]}/boot_vga")
            if isinstance(shown, Known) and shown.value == "1":
                found.setdefault(address, []).append("console")
    return {address: ", ".join(dict.fromkeys(found[address])) for address in sorted(found)}, tuple(gaps)


def _with_makers(functions: Mapping[Address, Function], address: Address, reason: str) -> Iterator[tuple[Address, str]]:
    """Yield a function that is needed, and those without whose drivers it vanishes: a VMD, a physical function.

    Source: ``vmd_remove`` (drivers/pci/controller/vmd.c); ``pci_disable_sriov`` (drivers/pci/iov.c), which drivers
    call when they are taken off.
    """
    function = functions.get(address)
    if function is None:
        return
    yield address, reason
    for maker, what in ((function.behind, "behind it"), (function.physical_function, "its virtual function")):
        if maker is not None and maker in functions:
            yield maker, f"{reason} ({what}: {address})"


def _first(tree: Tree, *paths: str) -> Fact[str]:
    found: Fact[str] = Unknown("")
    for path in paths:
        found = text(tree, path)
        if isinstance(found, Known):
            return found
    return Unknown(f"{paths[0]} was not captured or cannot be read")


def _mounted(table: Known[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield device number (``0:0``: not told), place, device and kind of each mount.

    Source: proc_pid_mountinfo(5), whose optional fields end with ``-``; proc_mounts(5). Blanks and line feeds in names
    are escaped (``mangle``, fs/proc_namespace.c), and nothing else that Unicode takes for either.
    """
    for line in table.value.split("\n"):
        words = line.split(" ")
        if table.source.endswith("mountinfo"):
            end = words.index("-", 6) if "-" in words[6:] else len(words)
            if len(words) >= end + 3:
                yield words[2], words[4], words[end + 2], words[end + 1]
        elif len(words) >= 3:
            yield "0:0", words[1], words[0], words[2]


def _mounts(tree: Tree) -> Fact[list[_Need]]:
    # Process 1 sees the host's mounts, whatever namespace this one is in.
    found = _first(tree, "proc/1/mountinfo", "proc/self/mountinfo", "proc/mounts", "proc/self/mounts")
    if isinstance(found, Unknown):
        return found
    needs: list[_Need] = []
    seen: set[tuple[str, str]] = set()
    for number, place, device, kind in _mounted(found):
        reason = "root file system" if place == "/" else "boot" if place == "/boot" else f"mounted at {place}"
        if device.startswith("/dev/loop"):
            # It is backed by a file, whose file system is mounted as well.
            continue
        if not number.startswith("0:") and (path := device_number(tree, number)) is not None:
            needs.append(_Need(reason, device, path))
        elif device.startswith("/dev/"):
            if (device, reason) not in seen:
                needs.append(_Need(reason, device, block_device(tree, device)))
            seen.add((device, reason))
        elif kind == "zfs":
            needs.append(_Need(reason, f"zfs {device}", None))
        elif not number.startswith("0:"):
            needs.append(_Need(reason, device, None))
    return Known([*needs, *_btrfs(tree)], found.source)


def _btrfs(tree: Tree) -> Iterator[_Need]:
    """All devices of mounted btrfs file systems: the mount table names only one of them."""
    for uuid in value_of(names(tree, "sys/fs/btrfs"), ()):
        folder = f"sys/fs/btrfs/{uuid}/devices"
        for name in value_of(names(tree, folder), ()):
            yield _Need("mounted btrfs", name, f"{folder}/{name}")


def _swaps(tree: Tree) -> Fact[list[_Need]]:
    found = text(tree, "proc/swaps")
    if isinstance(found, Unknown):
        return found
    lines = (line.split() for line in found.value.split("\n")[1:])
    needs = [
        _Need("swap", words[0], block_device(tree, words[0]))
        for words in lines
        if len(words) > 1 and words[1] == "partition"
    ]
    return Known(needs, found.source)


def _routes(tree: Tree) -> Fact[list[_Need]]:
    found = _first(tree, "proc/1/net/route", "proc/net/route")
    if isinstance(found, Unknown):
        return found
    interfaces: dict[str, None] = {}
    for line in found.value.splitlines()[1:]:
        words = line.split()
        if len(words) >= 8 and words[1] == words[7] == "00000000" and _flags(words[3]) & (_UP | _REJECT) == _UP:
            interfaces[words[0]] = None
    newer = _first(tree, "proc/1/net/ipv6_route", "proc/net/ipv6_route")
    for line in value_of(newer, "").splitlines():
        words = line.split()
        if len(words) < 10 or words[0] != "0" * 32 or words[1] != "00" or words[9] == "lo":
            continue
        if _flags(words[8]) & (_UP | _REJECT) == _UP:
            interfaces[words[9]] = None
    needs = [_Need("default route", name, network_device(tree, name)) for name in interfaces]
    return Known(needs, found.source)


def _flags(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
