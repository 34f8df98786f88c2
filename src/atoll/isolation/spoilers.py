"""What keeps a function's IOMMU group together: which port or function, which bit, and whose doing it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from atoll.controls.acs import kernel_requests_acs
from atoll.controls.acs_options import acs_options, option_on
from atoll.fabric.topology import Topology
from atoll.fabric.vmd import FIRST_SEGMENT
from atoll.host.fact import Unknown, value_of
from atoll.host.model import Function, Host, Platform
from atoll.isolation.groups.acs_enabled import Judge
from atoll.isolation.groups.dma_alias import Aliases
from atoll.isolation.groups.override_evidence import override_in_force
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.pci.vendor import AMD

__all__ = ["UNREAD", "Cause", "Rule", "Spoiler", "held_from_above", "spoilers"]

UNREAD = "was not read"
"""What is said of a function of which not even the type is known."""
_NOTHING = AcsFlag(0)


class Rule(StrEnum):
    """By which of the kernel's rules it holds the group together."""

    PATH = "path"
    """A port on the way up does not isolate: all below it stays together (``pci_acs_path_enabled``)."""
    SLOT = "slot"
    """A function of a device does not isolate from its siblings (``get_pci_function_alias_group``)."""
    ALIAS = "alias"
    """Requests carry another's requester id (``pci_for_each_dma_alias``)."""
    SEGMENT = "segment"
    """It is the VMD whose requester id all of the segment that it made carries (``pci_real_dma_dev``); of one that the
    record does not show, the first function of its segment."""


class Cause(StrEnum):
    """Whose doing it is."""

    HARDWARE = "hardware"
    KERNEL = "kernel"
    OPTION = "command-line"
    CHANGED = "changed"
    """Someone changed it after the kernel had set it."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Spoiler:
    """One function that keeps a group together."""

    address: Address
    rule: Rule
    kind: str
    """What it is: ``root-port``, ``endpoint``, …"""
    cause: Cause
    what: str
    """What is wrong with it, after "it": ``has no ACS capability``."""
    because: str
    """Why that is so, and where to look; empty where there is nothing to add."""
    off: AcsFlag = _NOTHING
    """The bits that it has and that are off."""

    @property
    def settable(self) -> bool:
        """Whether bits are there to be set."""
        return bool(self.off)


def spoilers(topology: Topology, members: Iterable[Address], *, above: Address | None = None) -> tuple[Spoiler, ...]:
    """Return what keeps ``members`` together, by Linux's rules for hosts other than PowerNV.

    A VMD comes first, since nothing below it can help; then what stands on the way up from ``above``, nearest to the
    root in front; the rest in address order.
    """
    host = topology.host
    if host.platform is Platform.POWERNV:
        return ()
    judge = Judge(host, acs_control={}, override=override_in_force(host))
    inside = [address for address in members if address in host.functions]
    found: dict[Address, Spoiler] = {}
    aliases = Aliases(host)
    for address in inside:
        function = host.functions[address]
        for place, step in enumerate(aliases.upwards(function)):
            if step.function is not function:
                # The kernel takes the VMD in the function's place before it goes up.
                rule = Rule.ALIAS if place else Rule.SEGMENT
                found.setdefault(step.function.address, _alias(step.function, rule, step.why))
        for port in topology.up(address):
            if not judge.function(host.functions[port]).enabled:
                found.setdefault(port, _spoiler(host, host.functions[port], judge, Rule.PATH))
    for function in _open_siblings(judge, [host.functions[address] for address in inside]):
        found.setdefault(function.address, _spoiler(host, function, judge, Rule.SLOT))
    way = tuple(reversed(topology.up(above))) if above is not None else ()
    first = {address: place for place, address in enumerate(way)}

    def order(found: Spoiler) -> tuple[object, ...]:
        place = first.get(found.address)
        return (found.rule is not Rule.SEGMENT, place is None, place or 0, found.address)

    return tuple(sorted(found.values(), key=order))


def _open_siblings(judge: Judge, functions: Iterable[Function]) -> Iterator[Function]:
    """Yield the functions that do not isolate, of slots where several do not."""
    slots: dict[tuple[int, int, int], list[Function]] = {}
    for function in functions:
        if judge.own.multifunction(function) is not False and not judge.function(function).enabled:
            slots.setdefault(function.address.slot, []).append(function)
    for slot in slots.values():
        if len(slot) > 1:
            yield from slot


def held_from_above(host: Host, members: Iterable[Address], one: Address) -> Address | None:
    """Return which of ``members`` on the bus of ``one`` counts as apart from its siblings, with nothing shown above.

    In one group with them all the same, no rule but that of the way up (``pci_acs_path_enabled``) can hold it: a port
    above, which the record does not show, does not isolate, and holds all on the bus. None where that is not so.
    """
    judge = Judge(host, acs_control={}, override=override_in_force(host))
    beside = [host.functions[a] for a in members if a in host.functions and a[:2] == one[:2]]
    if len(beside) < 2 or not all(host.is_loose(function) for function in beside):
        return None
    for function in beside:
        verdict = judge.function(function)
        if verdict.enabled and verdict.certain and judge.own.multifunction(function) is not None:
            return function.address
    return None


def _alias(function: Function, rule: Rule, why: str) -> Spoiler:
    kind = value_of(function.port_type, None)
    beside = rule is Rule.SEGMENT and function.address.domain >= FIRST_SEGMENT
    return Spoiler(
        function.address,
        rule,
        kind.label if kind is not None else "function",
        Cause.HARDWARE,
        "shares one requester id with all of its segment" if beside else "lends its requester id to what is behind it",
        f"{why}: the IOMMU cannot tell them apart, whatever is set",
    )


def _spoiler(host: Host, function: Function, judge: Judge, rule: Rule) -> Spoiler:
    kind = judge.own.port_type(function)
    label = kind.label if kind is not None else "function of an unread type"

    def made(cause: Cause, what: str, because: str = "", off: AcsFlag = _NOTHING) -> Spoiler:
        return Spoiler(function.address, rule, label, cause, what, because, off)

    if kind is PortType.CONVENTIONAL:
        why = "its bus is shared" if function.parent is not None else "a chipset function without PCI Express has none"
        return made(Cause.HARDWARE, "is conventional PCI", f"conventional PCI has no ACS: {why}")
    if kind in (PortType.PCIE_TO_PCI, PortType.PCI_TO_PCIE, PortType.EVENT_COLLECTOR):
        return made(Cause.HARDWARE, f"is a {label}", "Linux never counts one as isolating (pci_acs_enabled)")
    if kind is None:
        reason = function.port_type.reason if isinstance(function.port_type, Unknown) else ""
        return made(Cause.UNKNOWN, UNREAD, reason or "record it as root with lspci -vvv")
    if isinstance(function.acs, Unknown):
        return made(Cause.UNKNOWN, "shows no ACS state", function.acs.reason)
    acs = function.acs.value
    if acs is None:
        return made(Cause.HARDWARE, "has no ACS capability", _why_none(function, kind, rule))
    off = REDIRECTING & acs.capability & ~acs.control
    if not off:
        return made(Cause.HARDWARE, "is taken as not isolating", "a quirk of Linux says so (pci_dev_acs_enabled)")
    return made(*_why_off(host, function, off), off)


def _why_none(function: Function, kind: PortType, rule: Rule) -> str:
    if rule is Rule.SLOT and kind not in DOWNSTREAM_PORTS:
        return "nothing says that its device keeps its functions apart, and Linux has no quirk for it"
    text = "the chip has none, or firmware hides it; Linux has no quirk for it"
    if function.vendor == AMD and kind is PortType.ROOT_PORT:
        return text + ". Look for ACS (and AER, which it may hang on) in the firmware's setup: AMD's often has a switch"
    return text


def _why_off(host: Host, function: Function, off: AcsFlag) -> tuple[Cause, str, str]:
    words = " ".join(word[:-1] + "-" for word in off.lspci.split() if word.endswith("+"))
    what = f"has ACS, with {words}"
    option = option_on(function, host.functions, acs_options(value_of(host.command_line, "")))
    if option is not None and off & ~option.set:
        because = f"pci={option.parameter}= on the kernel's command line names it"
        if option.parameter == "disable_acs_redir":
            because += "; it also keeps the kernel from setting SrcValid and UpstreamFwd there"
        return Cause.OPTION, what, because
    requests = kernel_requests_acs(host)
    if requests is False:
        return Cause.KERNEL, what, "firmware left it off, and a kernel without an IOMMU in use does not set it"
    if requests is None:
        because = (
            "as recorded. A kernel with an IOMMU in use sets these bits by itself: if it was off (intel_iommu=on "
            "missing, VT-d or AMD-Vi off in firmware), switch it on and look again"
        )
        return Cause.KERNEL, what, because
    return (
        Cause.CHANGED,
        what,
        "a kernel with an IOMMU in use sets these bits at boot: something cleared them since (setpci, a reset of "
        "the port), or a command line that the record does not show",
    )
