"""What a kernel's command line says about ACS: ``pci=disable_acs_redir=`` and ``pci=config_acs=``.

Source: Linux ``Documentation/admin-guide/kernel-parameters.txt`` and ``__pci_config_acs`` and ``pci_dev_str_match`` in
``drivers/pci/pci.c``. ``disable_acs_redir`` exists since 4.19 (commit aaca43fda742 "PCI: Add "pci=disable_acs_redir="
parameter for peer-to-peer support"), ``config_acs`` since 6.11 (commit 47c8846a49ba "PCI: Extend ACS configurability").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.command_line import options, values
from atoll.host.fact import value_of
from atoll.host.model import Function, KernelRelease
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address

__all__ = ["CONFIG_ACS_SINCE", "AcsOption", "acs_ignored", "acs_options", "config_acs", "option_on"]

CONFIG_ACS_SINCE = KernelRelease(6, 11, "6.11")
"""First release with ``pci=config_acs=``."""

_BITS = (AcsFlag.DT, AcsFlag.EC, AcsFlag.UF, AcsFlag.CR, AcsFlag.RR, AcsFlag.TB, AcsFlag.SV)
"""The flags string from left to right: its last character is bit 0, Source Validation."""
_PARAMETERS = ("config_acs", "disable_acs_redir")
_NOTHING = AcsFlag(0)
_REDIRECTION = AcsFlag.RR | AcsFlag.CR | AcsFlag.EC


@dataclass(frozen=True, slots=True)
class AcsOption:
    """One entry: what it sets and clears, and of which functions."""

    parameter: str
    """``config_acs`` or ``disable_acs_redir``."""
    set: AcsFlag
    clear: AcsFlag
    device: str
    """As written: a path of addresses, or ``pci:VENDOR:DEVICE[:SUBVENDOR:SUBDEVICE]``."""

    def covers(self, function: Function, functions: Mapping[Address, Function]) -> bool:
        """Whether the entry names a function (``pci_dev_str_match``)."""
        if self.device.startswith("pci:"):
            return _by_ids(self.device.removeprefix("pci:"), function)
        return _by_path(self.device, function, functions)


def acs_options(command_line: str) -> tuple[AcsOption, ...]:
    """Return the entries in force, in order. Of several parameters of one name, the last counts.

    The kernel reads no further than an entry that it cannot parse.
    """
    found = []
    for parameter, entries in dict(_written(command_line)).items():
        for entry in entries.split(";"):
            option = _option(parameter, entry)
            if option is None or not _parses(option.device):
                break
            found.append(option)
    return tuple(found)


def acs_ignored(command_line: str) -> tuple[tuple[str, str], ...]:
    """Return what is written there for ACS and has no effect, each with the reason.

    Source: ``pci_setup`` in ``drivers/pci/pci.c`` parts ``pci=`` at commas and keeps the last string of each parameter;
    ``__pci_config_acs`` parts that at semicolons.
    """
    found: list[tuple[str, str]] = []
    written = _written(command_line)
    last = dict(written)
    for number, (parameter, entries) in enumerate(written):
        if any(parameter == later for later, _ in written[number + 1 :]):
            found.append((f"{parameter}={entries}", f"a later {parameter}= replaces it: one holds all, parted by ;"))
    for parameter, entries in last.items():
        for entry in entries.split(";"):
            option = _option(parameter, entry)
            if option is None or not _parses(option.device):
                rest = entries[entries.index(entry) :] if entry else entries
                found.append((rest, f"{parameter}= is not understood there, and read no further"))
                break
    for word in values(command_line, "pci"):
        after = ""
        for part in word.split(","):
            parameter, equals, _ = part.partition("=")
            if equals or not (after and (_parses(part) or "@" in part)):
                after = parameter if equals and parameter in _PARAMETERS else ""
            else:
                found.append((part, f"after a comma, which ends {after}=: a ; parts its entries"))
    return tuple(found)


def _written(command_line: str) -> list[tuple[str, str]]:
    """Return each parameter about ACS with its entries, as written, in order."""
    parts = [part.partition("=") for part in options(command_line, "pci")]
    return [(parameter, entries) for parameter, equals, entries in parts if equals and parameter in _PARAMETERS]


def option_on(
    function: Function, functions: Mapping[Address, Function], options: tuple[AcsOption, ...]
) -> AcsOption | None:
    """Return the entry that decides about a function: ``config_acs`` is applied last, from the firmware's value."""
    for parameter in ("config_acs", "disable_acs_redir"):
        for option in options:
            if option.parameter == parameter and option.covers(function, functions):
                return option
    return None


def config_acs(control: AcsFlag, address: Address, *, clear: AcsFlag = _NOTHING) -> str:
    """Return the ``pci=config_acs=`` entry that makes a control word of what firmware left: ``xx111x1@0000:02:00.0``.

    The kernel starts from the firmware's word, not from its own default: every bit that is wanted is written out.
    """
    wanted = control & (REDIRECTING | AcsFlag.TB)
    return "".join("1" if b in wanted else "0" if b in clear else "x" for b in _BITS) + f"@{address}"


def _option(parameter: str, entry: str) -> AcsOption | None:
    if parameter == "disable_acs_redir":
        return AcsOption(parameter, AcsFlag(0), _REDIRECTION, entry) if entry else None
    bits, at, device = entry.partition("@")
    # Of an x the kernel minds no place, be there ever so many.
    bits = bits.lower().lstrip("x")
    if not at or not device or len(bits) > len(_BITS) or set(bits) - set("01x"):
        return None
    on = off = AcsFlag(0)
    for flag, bit in zip(reversed(_BITS), reversed(bits), strict=False):
        if bit == "1":
            on |= flag
        elif bit == "0":
            off |= flag
    return AcsOption(parameter, on, off, device)


def _parses(device: str) -> bool:
    """Whether ``pci_dev_str_match`` understands what names a function: ``pci:10de:*`` it does not."""
    if device.startswith("pci:"):
        return _ids(device.removeprefix("pci:")) is not None
    return _path(device) is not None


def _ids(text: str) -> list[int] | None:
    try:
        wanted = [int(word, 16) for word in text.split(":")]
    except ValueError:
        return None
    return wanted if len(wanted) in (2, 4) else None


def _path(text: str) -> tuple[Address, list[tuple[int, int]]] | None:
    first, *rest = text.split("/")
    *buses, last = first.split(":")
    if len(buses) not in (1, 2):
        return None
    try:
        # The kernel's %x takes any number of digits.
        domain, bus = (int(word, 16) for word in ("0", *buses)[-2:])
        return Address(domain, bus, *_place(last)), [_place(step) for step in rest]
    except ValueError:
        return None


def _by_ids(text: str, function: Function) -> bool:
    """``pci:VENDOR:DEVICE[:SUBVENDOR:SUBDEVICE]``; zero stands for any."""
    wanted = _ids(text)
    if wanted is None:
        return False
    subsystem = value_of(function.subsystem, (0, 0))
    there = (function.vendor, function.device, *subsystem)
    return all(not want or want == have for want, have in zip(wanted, there, strict=False))


def _by_path(text: str, function: Function, functions: Mapping[Address, Function]) -> bool:
    """``[DOMAIN:]BUS:DEV.FN[/DEV.FN]*``: the last names the function, those before it the bridges above."""
    named = _path(text)
    if named is None:
        return False
    top, steps = named
    at: Function | None = function
    for step in reversed(steps):
        if at is None or at.address[2:] != step:
            return False
        at = functions.get(at.parent) if at.parent is not None else None
    return at is not None and at.address == top


def _place(text: str) -> tuple[int, int]:
    device, _, number = text.partition(".")
    return int(device, 16), int(number, 16)
