"""``atoll iova``: usable IOVA ranges of each cluster, pollution, conflicts with a guest's memory."""

from __future__ import annotations

import argparse

from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.cli.spec import read_clusters
from atoll.controls.present import present
from atoll.errors import InputError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host.model import Host, Platform
from atoll.isolation.iova.layout import Cpu, Guest
from atoll.isolation.iova.machine_type import MachineType, parse_machine
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.survey import survey
from atoll.pci.vendor import HYGON
from atoll.report.iova import iova_document, iova_lines

__all__ = ["maker", "run"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_OF_GUEST = ("machine", "cpu", "max_ram_below_4g", "max_memory", "memory_slots", "pci_hole64_size", "phys_bits")
"""Options that say something of a guest's memory, hence are nothing without its size."""
_NATIVE = {Platform.ARM: MachineType.VIRT, Platform.POWERNV: MachineType.PSERIES}
"""What runs on hosts other than x86: KVM has guests of the host's own kind only."""
_X86_ONLY = frozenset({MachineType.CLOUD_HYPERVISOR, MachineType.CROSVM, MachineType.FIRECRACKER})
_SLOTLESS = frozenset({MachineType.CLOUD_HYPERVISOR, MachineType.FIRECRACKER, MachineType.FIRECRACKER_ARM})
"""Into which memory is plugged that comes in no modules."""
_MOST_SLOTS = 256
"""``ACPI_MAX_RAM_SLOTS`` in QEMU."""
_MOST_BITS = 52
"""Of a physical address: MAXPHYADDR is at most 52 on x86 (Intel SDM volume 3, 4.1.4)."""


def run(options: argparse.Namespace) -> int:
    """Print each cluster's addresses; the exit code says whether they work."""
    host = open_session(options.host).host
    _, clusters = read_clusters(options.spec, host)
    guest = _guest(options, host)
    settings = present(host, allow_assumed=clusters.allow_assumed)
    found = survey(Polluter(Topology(host), settings, Policy(options.policy)), clusters, guest)
    say(
        options,
        lambda: iova_document(host, found, guest),
        lambda style: iova_lines(host, found, guest, style=style, verbose=options.verbose),
    )
    if any(one.refuted for one in found):
        return 1
    return 3 if any(one.undecided for one in found) else 0


def _guest(options: argparse.Namespace, host: Host) -> Guest | None:
    if options.guest_memory is None:
        for given in _OF_GUEST:
            if getattr(options, given) is not None:
                name = given.replace("_", "-")
                raise InputError(f"--{name} without --guest-memory", hint="say how much memory the guest has: 64G")
        return None
    try:
        machine, version, distribution = parse_machine(
            options.machine or _NATIVE.get(host.platform, MachineType.Q35).value
        )
    except ValueError:
        raise InputError(
            f"--machine: {options.machine!r} is no machine type that is known here",
            hint="one of q35, i440fx, microvm, virt, pseries, cloud-hypervisor, crosvm, firecracker, or with a "
            "version: pc-q35-7.0 (for a distribution's that is not known here: QEMU's that it was made from)",
        ) from None
    if host.platform is Platform.OTHER and machine is not MachineType.PSERIES:
        raise InputError(
            "--guest-memory: where guests have memory on a host of this kind is not known here",
            hint="without it, what devices can map is told all the same; on POWER, say --machine pseries",
        )
    if machine is MachineType.FIRECRACKER and host.platform is Platform.ARM:
        machine = MachineType.FIRECRACKER_ARM
    if machine in _X86_ONLY and host.platform in _NATIVE:
        raise InputError(
            f"--machine: where {machine.value} puts memory is known on x86 only; this host is {host.platform.value}",
            hint=f"QEMU's is {_NATIVE[host.platform].value}",
        )
    if machine is MachineType.FIRECRACKER_ARM and host.platform is Platform.X86:
        raise InputError("--machine: this host is x86, and firecracker-arm is not", hint="say --machine firecracker")
    below = _size("--max-ram-below-4g", options.max_ram_below_4g)
    if below is not None and below > 4 << 30:
        raise InputError(f"--max-ram-below-4g: {options.max_ram_below_4g} is more than 4G", hint="QEMU takes up to 4G")
    memory = _size("--guest-memory", options.guest_memory)
    assert memory is not None
    most, slots = _pluggable(options, memory, machine)
    hole = _size("--pci-hole64-size", options.pci_hole64_size)
    bits = _number("--phys-bits", options.phys_bits, _MOST_BITS)
    guest = Guest(
        memory,
        machine,
        version,
        distribution,
        options.machine if distribution else None,
        Cpu(options.cpu) if options.cpu else maker(host),
        below,
        max_memory=most,
        slots=slots,
        hole64=hole,
        phys_bits=bits,
    )
    for name, value in (("max-ram-below-4g", below), ("pci-hole64-size", hole), ("phys-bits", bits)):
        if value is not None and not guest.pc:
            raise InputError(f"--{name}: not known for {machine.value}", hint="it is looked at for q35 and i440fx only")
    return guest


def _pluggable(options: argparse.Namespace, memory: int, machine: MachineType) -> tuple[int | None, int]:
    """Return how much memory, in bytes, the guest may have once all is plugged in (None: no more), and in how many
    slots."""
    most = _size("--max-memory", options.max_memory)
    if most is not None and most < memory:
        raise InputError(
            f"--max-memory: {options.max_memory} is less than the guest has from the start",
            hint="as in QEMU, it counts all memory, not only what is plugged in later",
        )
    slots = _number("--memory-slots", options.memory_slots, _MOST_SLOTS) or 0
    if slots and most is None:
        raise InputError("--memory-slots without --max-memory", hint="say how much memory there may be: 512G")
    if most is not None and machine in (MachineType.MICROVM, MachineType.CROSVM):
        raise InputError(f"--max-memory: nothing is plugged into a {machine.value}", hint="leave it out")
    if slots and machine in _SLOTLESS:
        raise InputError(f"--memory-slots: {machine.value} has no such option", hint="leave it out")
    return most, slots


def maker(host: Host) -> Cpu | None:
    """Who made the host's processor, hence the guest's with ``-cpu host``, by its IOMMUs.

    Hygon's have AMD's IOMMU and another name, and QEMU moves memory for AMD's name alone (``IS_AMD_CPU``).
    """
    if any(function.vendor == HYGON for function in host.functions.values()):
        return None
    kinds = {unit.kind for unit in host.iommu_units}
    return Cpu(kinds.pop()) if len(kinds) == 1 and kinds <= set(Cpu) else None


def _number(option: str, text: str | None, most: int) -> int | None:
    """Return a number from 1 to ``most``; None where the option is not given."""
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:
        raise InputError(f"{option}: {text!r} is no number from 1 to {most}", hint=f"write {option} 4")
    return int(text)


def _size(option: str, text: str | None) -> int | None:
    """Return a size in bytes; without a unit it is MiB, as in QEMU's ``-m``. None where the option is not given."""
    if text is None:
        return None
    plain = text.strip().upper().removesuffix("B").removesuffix("I")
    digits = plain.rstrip("KMGT")
    unit = plain[len(digits) :]
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18 or unit not in _UNITS:
        raise InputError(f"{option}: {text!r} is no size", hint="write 65536M, 64G or 1T")
    size = int(digits) * (_UNITS[unit] if unit else 1 << 20)
    if not 1 << 20 <= size <= 1 << _MOST_BITS:
        raise InputError(f"{option}: {text} is not between 1M and 4096T", hint="write 64G for 64 GiB")
    return size
