"""Interrupt remapping: whether a device can only raise the interrupts that it was given."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.attribute import names, text
from atoll.host.command_line import parameters
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.groups import BEHIND_XEN
from atoll.host.kernel import compatible
from atoll.host.model import Group, IommuUnit, Platform
from atoll.host.tree import Tree

__all__ = ["BY_ENDPOINT", "doubt_remapping", "read_interrupt_remapping"]

BY_ENDPOINT = "PowerNV: interrupts are validated by partitionable endpoint"

_NO_CHIPS = "neither proc/interrupts nor sys/kernel/irq was captured"


def read_interrupt_remapping(
    tree: Tree, platform: Platform, units: tuple[IommuUnit, ...], groups: Fact[Mapping[int, Group]], command_line: str
) -> Fact[bool]:
    """Return whether a device can only raise the interrupts that it was given.

    x86: interrupt chips are called ``IR-…`` where remapping is on (``arch/x86/kernel/apic`` and
    ``drivers/iommu/*/irq_remapping.c``); ``intremap=off`` or ``nointremap`` turn it off, and with ``intremap=nosid``
    Intel's does not check who sends (``setup_irqremap`` in ``drivers/iommu/irq_remapping.c``). PowerNV validates
    interrupts by partitionable endpoint. Arm: GICv3's ITS tells by who sends them, GICv2m does not
    (``IRQ_DOMAIN_FLAG_ISOLATED_MSI`` in ``drivers/irqchip/irq-gic-v3-its.c``). Elsewhere unknown.
    """
    if isinstance(groups, Unknown) and groups.reason == BEHIND_XEN:
        return Unknown("whether interrupts are remapped, Xen knows")
    if platform is Platform.POWERNV:
        return Known(True, BY_ENDPOINT)
    chips = _chips(tree)
    if platform is Platform.ARM:
        return _told_by_gic(chips, compatible(tree))
    if platform not in (Platform.X86, Platform.UNKNOWN):
        return Unknown(f"no rule tells it for platform {platform}")
    return _told_on_x86(tree, chips, units, command_line)


def _told_on_x86(
    tree: Tree, chips: Fact[frozenset[str]], units: tuple[IommuUnit, ...], command_line: str
) -> Fact[bool]:
    """Return whether x86 remaps interrupts, by the names of chips in use, and what the command line says.

    That no IOMMU translates says nothing: Intel's remaps with ``iommu=off`` and without DMA translation too, and shows
    in sysfs only where it translates (seen on Linux 6.1).
    """
    remapped = isinstance(chips, Known) and any(chip.startswith("IR-") for chip in chips.value)
    told: Fact[bool] = Known(True, "interrupt chips are called IR-…") if remapped else Unknown("not told")
    settled = doubt_remapping(told, Known(command_line), units)
    if settled is not told:
        return settled
    if remapped:
        plain = _not_remapped(tree)
        return Unknown(f"proc/interrupts: some interrupts are remapped, those of {plain} are not") if plain else told
    if off := _asking(command_line, "off"):
        return Known(False, f"{off} on the command line")
    if isinstance(chips, Known) and any(chip == "IO-APIC" or chip.startswith("PCI-MSI") for chip in chips.value):
        return Known(False, chips.source)
    return Unknown(_NO_CHIPS)


def _told_by_gic(chips: Fact[frozenset[str]], compatible: list[str]) -> Fact[bool]:
    """Return whether Arm's interrupt controllers tell senders apart, as far as the names of chips in use show.

    Those of PCI functions are ``ITS-PCI-MSI-…`` and ``ITS-PCI-MSIX-…``, ``ITS-MSI`` in older kernels. Of Socionext's
    ITS the kernel says that it is told nothing of senders (``its_enable_quirk_socionext_synquacer``).
    """
    if isinstance(chips, Unknown):
        return Unknown(_NO_CHIPS)
    its = {chip for chip in chips.value if chip.startswith(("ITS-PCI-MSI", "ITS-MSI"))}
    others = {chip for chip in chips.value - its if chip == "MSI" or chip.startswith("MBI-") or "PCI-MSI" in chip}
    if its and not others and not any(word.startswith("socionext,") for word in compatible):
        return Known(True, f"{chips.source}: interrupts of PCI functions go by an ITS, which tells senders apart")
    if not its and others and all(chip.startswith("GICv2m-") for chip in others):
        return Known(False, f"{chips.source}: GICv2m takes interrupts of whoever sends them")
    return Unknown("which interrupt controllers PCI functions use does not tell whether senders are told apart")


def doubt_remapping(told: Fact[bool], command_line: Fact[str], units: tuple[IommuUnit, ...]) -> Fact[bool]:
    """Return what is left of a record of interrupt remapping, seen with a command line: of this record or another.

    With ``intremap=nosid`` interrupts are remapped, and Intel's units do not check who sends them.
    """
    words = value_of(command_line, "")
    off, unchecked = _asking(words, "off"), _asking(words, "nosid")
    if off and isinstance(told, Known) and told.value:
        return Unknown(f"{off} on the command line, but interrupts are remapped: two records of different boots?")
    if unchecked and not off and not any(unit.kind == "amd" for unit in units):
        return Known(False, f"{unchecked} on the command line: who sends an interrupt is not checked")
    return told


def _asking(command_line: str, wanted: str) -> str | None:
    """Return the parameter that asks for something of interrupt remapping: ``intremap=nosid,off``, ``nointremap``.

    A later ``on`` takes ``off`` back; what follows these words counts for nothing (``strncmp`` in ``setup_irqremap``).
    """
    asking = None
    for word in parameters(command_line):
        name, _, value = word.partition("=")
        for option in value.split(",") if name == "intremap" else ["off"] if name == "nointremap" else []:
            if option.startswith(wanted):
                asking = word
            elif option.startswith("on") and wanted == "off":
                asking = None
    return asking


def _not_remapped(tree: Tree) -> str:
    """Return the first chip of PCI functions whose interrupts go past the remapping: no IOMMU serves those functions.

    Not that of an IOMMU of AMD's, which is a function with interrupts of its own.
    """
    for line in value_of(text(tree, "proc/interrupts"), "").splitlines():
        chip = next((word for word in line.split() if word.startswith("PCI-MSI")), "")
        if chip and "AMD-Vi" not in line:
            return chip
    return ""


def _chips(tree: Tree) -> Fact[frozenset[str]]:
    found = text(tree, "proc/interrupts")
    if isinstance(found, Known):
        return Known(frozenset(word for line in found.value.splitlines() for word in line.split()), "proc/interrupts")
    listed = names(tree, "sys/kernel/irq")
    if isinstance(listed, Unknown):
        return listed
    chips = set()
    for number in listed.value:
        chips.add(value_of(text(tree, f"sys/kernel/irq/{number}/chip_name"), ""))
    return Known(frozenset(chips), "sys/kernel/irq")
