"""How a person sets ACS control words: a kernel parameter where the kernel has it, else by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from atoll.controls.acs_options import CONFIG_ACS_SINCE, acs_options, config_acs
from atoll.host.fact import Known, value_of
from atoll.host.model import Host
from atoll.pci.acs import REDIRECTING, Acs, AcsFlag
from atoll.pci.address import Address

__all__ = ["Recipe", "acs_recipes", "opening_lines"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to do it."""

    lines: tuple[str, ...]
    """Ready to paste."""
    note: str
    """When it holds, and until when."""


def acs_recipes(host: Host, words: Mapping[Address, AcsFlag], cleared: Mapping[Address, AcsFlag]) -> tuple[Recipe, ...]:
    """Return the ways to set these control words on the host's kernel; both where its release is not known."""
    kernel = value_of(host.kernel, None)
    recipes = []
    if kernel is None or kernel >= CONFIG_ACS_SINCE:
        recipes.append(_parameter(host, words, cleared))
    if kernel is None or kernel < CONFIG_ACS_SINCE:
        recipes.append(_by_hand(host, words, cleared))
    return tuple(recipes)


def opening_lines(host: Host, ports: Iterable[Address]) -> tuple[str, ...]:
    """Return the commands that switch redirection off at ports, ready to paste."""
    off = AcsFlag.RR | AcsFlag.CR
    return tuple(_setpci(a, value_of(host.functions[a].acs, None), AcsFlag(0), off) for a in ports)


def _parameter(host: Host, words: Mapping[Address, AcsFlag], cleared: Mapping[Address, AcsFlag]) -> Recipe:
    entries = [config_acs(word, a, clear=cleared.get(a, AcsFlag(0))) for a, word in sorted(words.items())]
    note = "kernel command line, at the next boot"
    if not isinstance(host.kernel, Known):
        note += f"; since Linux {CONFIG_ACS_SINCE.text}"
    # commit 47c8846a49ba read lists wrongly, and left firmware's value where a bit is 0, until "PCI: Fix Extend ACS
    # configurability" (2025).
    wrong = []
    if len(entries) > 1:
        note += "; quoted in GRUB's file, where ; ends a command"
        wrong.append("misread lists")
    if any("0" in entry.partition("@")[0] for entry in entries):
        wrong.append("clear no bits")
    if wrong:
        note += f"; early kernels with it {' and '.join(wrong)}: check afterwards"
    if any(option.parameter == "config_acs" for option in acs_options(value_of(host.command_line, ""))):
        note += "; together with the entries that are there already: the last pci=config_acs= replaces the others"
    return Recipe((f"pci=config_acs={';'.join(entries)}",), note)


def _by_hand(host: Host, words: Mapping[Address, AcsFlag], cleared: Mapping[Address, AcsFlag]) -> Recipe:
    lines = []
    for address, word in sorted(words.items()):
        acs = value_of(host.functions[address].acs, None)
        lines.append(_setpci(address, acs, word, cleared.get(address, AcsFlag(0))))
    note = (
        "until the port is reset or the host suspends; then have the functions below found again: write 1 to their "
        "remove files, and to /sys/bus/pci/rescan"
    )
    if not isinstance(host.kernel, Known):
        note = f"before Linux {CONFIG_ACS_SINCE.text}; {note}"
    return Recipe(tuple(lines), note)


def _setpci(address: Address, acs: Acs | None, word: AcsFlag, cleared: AcsFlag) -> str:
    """``VALUE:MASK`` leaves the bits outside the mask as they are (setpci(8)); the control word stands at +6."""
    behind = acs.control_offset - acs.offset if acs is not None else 6
    size, digits = ("l", 8) if behind == 8 else ("w", 4)
    value = word & (REDIRECTING | AcsFlag.TB)
    return f"setpci -s {address} ECAP_ACS+{behind}.{size}={value:0{digits}x}:{value | cleared:0{digits}x}"
