"""What runs a guest, by the names of machine types: QEMU's, its distributions', and other programs'.

Sources: what QEMU 11 lists for ``-machine help``; for RHEL and CentOS the "Add downstream ... machine types" patches of
their qemu-kvm packages (which say of each type from which of QEMU's it has what), for Ubuntu
``define-ubuntu-machine-types.patch`` of its qemu package. Proxmox VE counts its own changes behind QEMU's version
(``pc-q35-9.0+pve0``); memory stands where it does without.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["RELOCATING", "Distribution", "MachineName", "MachineType", "parse_machine"]

Release = tuple[int, int]
RELOCATING: Release = (7, 1)
"""The first machine types that move an AMD guest's upper memory: "i386/pc: restrict AMD only enforcing of 1Tb hole
to new machine type" (QEMU 7.1)."""


class MachineType(StrEnum):
    """QEMU's machine types, as far as they differ in where memory stands, and other programs that run guests."""

    Q35 = "q35"
    I440FX = "i440fx"
    MICROVM = "microvm"
    VIRT = "virt"
    """Arm's."""
    PSERIES = "pseries"
    CLOUD_HYPERVISOR = "cloud-hypervisor"
    CROSVM = "crosvm"
    FIRECRACKER = "firecracker"
    """On x86."""
    FIRECRACKER_ARM = "firecracker-arm"


class Distribution(StrEnum):
    """Whose machine types have names of their own."""

    RHEL = "rhel"
    UBUNTU = "ubuntu"


class MachineName(NamedTuple):
    """What a machine type's name says."""

    type: MachineType
    version: Release | None = None
    """The release of QEMU whose type of the same kind has memory where this has it; None: the newest."""
    distribution: Distribution | None = None
    """Whose name it is, where it is not QEMU's own."""


_UNVERSIONED = frozenset(
    {MachineType.CLOUD_HYPERVISOR, MachineType.CROSVM, MachineType.FIRECRACKER, MachineType.FIRECRACKER_ARM}
)
"""Programs that are not QEMU: their versions differ in nothing here."""
_DISTRIBUTED = frozenset({MachineType.Q35, MachineType.I440FX, MachineType.VIRT, MachineType.PSERIES})
"""Of which distributions have their own."""
_RHEL: dict[Release, Release] = {
    (7, 6): (2, 12),
    (8, 0): (3, 1),
    (8, 1): (4, 1),
    (8, 2): (4, 2),
    (8, 3): (5, 1),
    (8, 4): (5, 2),
    (8, 5): (6, 0),
    (8, 6): (6, 2),
    (9, 0): (6, 2),
    (9, 2): (7, 2),
    (9, 4): (8, 2),
    (9, 6): (9, 1),
}
"""Each of theirs and whose it was made from; in types since 9.2 AMD guests' memory is moved. Older ones than 7.6 are
not told of."""
_UBUNTU: dict[str, Release] = {
    "xenial": (2, 5),
    "yakkety": (2, 6),
    "zesty": (2, 8),
    "artful": (2, 10),
    "bionic": (2, 11),
    "cosmic": (2, 11),
    "disco": (3, 1),
    "eoan": (4, 0),
    "focal": (4, 2),
    "groovy": (5, 0),
    "hirsute": (5, 2),
    "impish": (6, 0),
    "jammy": (6, 2),
    "kinetic": (7, 0),
    "lunar": (7, 2),
    "mantic": (8, 0),
    "noble": (8, 2),
    "oracular": (9, 0),
    "plucky": (9, 1),
    "questing": (10, 1),
}
"""By code name, as ``pc-q35-`` has them; the others' differ by less than changes where memory stands."""
_UBUNTU_VARIANTS = frozenset({"hpb", "maxcpus", "v2"})
"""Behind a code name: the host's phys-bits, more processors, another processor model."""
_ALIASES = {
    "pc": MachineName(MachineType.I440FX),
    "ubuntu": MachineName(MachineType.I440FX, None, Distribution.UBUNTU),
    "ubuntu-q35": MachineName(MachineType.Q35, None, Distribution.UBUNTU),
}


def parse_machine(text: str) -> MachineName:
    """Return what a name says: ``q35``, ``pc-q35-7.0``, ``pc-i440fx-rhel7.6.0``, ``virt-9.0``, ``pc-q35-noble``.

    Raises ValueError for any other name, and where a program that is not QEMU has a version.
    """
    text = text.partition("+pve")[0]
    if text in _ALIASES:
        return _ALIASES[text]
    if text in _UNVERSIONED:
        return MachineName(MachineType(text))
    plain = text.removeprefix("pc-")
    kind, dash, version = plain.partition("-")
    if not dash and plain != text and _is_version(plain):
        # QEMU's up to 1.3.
        return MachineName(MachineType.I440FX, _release(plain))
    machine = MachineType(kind)
    if not dash:
        return MachineName(machine)
    if machine in _UNVERSIONED:
        raise ValueError(f"{text!r}: {machine} is named without a version")
    if _is_version(version):
        return MachineName(machine, _release(version))
    named = _distributed(version) if machine in _DISTRIBUTED else None
    if named is None:
        raise ValueError(f"{text!r}: {version!r} is no version")
    return MachineName(machine, *named)


def _distributed(version: str) -> tuple[Release | None, Distribution] | None:
    """What a distribution's own version stands for: ``rhel9.4.0``, ``noble``, ``jammy-hpb``."""
    number = version.removeprefix("rhel")
    if number != version and _is_version(number):
        release = _release(number)
        if release > max(_RHEL):
            return None, Distribution.RHEL
        return (_RHEL[release], Distribution.RHEL) if release in _RHEL else None
    name, *variants = version.split("-")
    known = name in _UBUNTU and _UBUNTU_VARIANTS.issuperset(variants)
    return (_UBUNTU[name], Distribution.UBUNTU) if known else None


def _is_version(text: str) -> bool:
    """Whether it is two or three numbers: 4.0 and 4.0.1 are both versions of a type."""
    numbers = text.split(".")
    return len(numbers) in (2, 3) and all(part.isascii() and part.isdigit() and len(part) < 4 for part in numbers)


def _release(text: str) -> Release:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)
