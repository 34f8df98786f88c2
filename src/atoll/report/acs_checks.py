"""What ports do about peer-to-peer traffic, and what the kernel is told to do about it: one check a question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atoll.controls.acs_options import acs_ignored
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.groups import listed_only
from atoll.host.model import Function, Host
from atoll.isolation.groups.override_evidence import ignores_override, obeys_untold_override
from atoll.pci.acs import REDIRECTING
from atoll.pci.header import PortType
from atoll.report.check import Check, Status, Subject, shortened
from atoll.report.function_words import isolating_root
from atoll.report.layout import first_of, plural

__all__ = ["acs", "acs_override", "acs_parameters"]

_PEERS = "peers below such ports may reach one another without the IOMMU seeing it"
_SHOWN = 3


def acs(s: Subject) -> Iterator[Check]:
    """Whether ports redirect peer-to-peer requests."""
    functions = s.host.functions.values()
    ports = [
        f
        for f in functions
        if (kind := value_of(f.port_type, None)) is PortType.DOWNSTREAM
        or (kind is PortType.ROOT_PORT and not isolating_root(s.host, f))
    ]
    found = [*_acs_lacking(ports), *_acs_off(ports), *_untyped(functions), *_acs_unread(ports)]
    yield from found
    if unseen := _unseen(s.host):
        yield Check("acs", Status.UNKNOWN, unseen, _PEERS, "give the whole of lspci -nnvvv, run as root")
    elif not found:
        yield Check("acs", Status.OK, f"all {plural(len(ports), 'port')} redirect" if ports else "no PCIe ports here")


def _acs_lacking(ports: Iterable[Function]) -> Iterator[Check]:
    without = [f.address for f in ports if isinstance(f.acs, Known) and f.acs.value is None]
    if without:
        yield Check(
            "acs-missing",
            Status.WARN,
            f"{plural(len(without), 'port')} without ACS: {shortened(without)}",
            _PEERS,
            "give what is below them to one tenant; see: atoll atoms",
        )


def _acs_off(ports: Iterable[Function]) -> Iterator[Check]:
    unset = [
        f.address
        for f in ports
        if (acs := value_of(f.acs, None)) is not None and REDIRECTING & acs.capability & ~acs.control
    ]
    if unset:
        yield Check(
            "acs-off",
            Status.WARN,
            f"{plural(len(unset), 'port')} with ACS that is not switched on: {shortened(unset)}",
            _PEERS,
            "atoll plan switches on what isolation needs",
        )


def _untyped(functions: Iterable[Function]) -> Iterator[Check]:
    untyped = [f.address for f in functions if f.is_port and isinstance(f.port_type, Unknown)]
    if untyped:
        yield Check(
            "acs",
            Status.UNKNOWN,
            f"of {plural(len(untyped), 'bridge')} neither kind nor ACS was read: {shortened(untyped)}",
            _PEERS,
            "read the host as root, and record whole config files; of a paste: lspci -vvv, run as root",
        )


def _acs_unread(ports: Iterable[Function]) -> Iterator[Check]:
    unread = {f.address: f.acs.reason for f in ports if isinstance(f.acs, Unknown)}
    if unread:
        first, *others = dict.fromkeys(unread.values())
        yield Check(
            "acs",
            Status.UNKNOWN,
            f"ACS of {plural(len(unread), 'port')} was not read: {shortened(list(unread))}",
            first + (f" (and {len(others)} more reasons: atoll show -v)" if others else ""),
            "read the host as root, and record whole config files; of a paste: lspci -nnvvvxxxx, run as root",
        )


def _unseen(host: Host) -> str:
    """Why there may be devices or ports of which the record shows nothing; empty where it does not say so."""
    hidden = listed_only(host)
    loose = [f.address for f in host.functions.values() if host.is_loose(f)]
    if hidden:
        return f"of {plural(len(hidden), 'function')} that groups name nothing else was read: {shortened(hidden)}"
    if loose:
        return f"what stands above {plural(len(loose), 'function')} was not read: {shortened(loose)}"
    return "" if host.functions else "the record shows no function"


_FICTION = "it makes the kernel claim isolation that the hardware does not have: groups lie"
_TAKE_OFF = "take pcie_acs_override= off; see what is really isolated: atoll atoms"


def acs_override(s: Subject) -> Iterator[Check]:
    """Whether the kernel is told to claim isolation where there is none."""
    if obeys_untold_override(s.host):
        yield Check("acs-override", Status.FAIL, "the kernel says at boot that it overrides ACS", _FICTION, _TAKE_OFF)
        return
    if isinstance(s.host.command_line, Unknown):
        yield Check(
            "acs-override",
            Status.UNKNOWN,
            s.host.command_line.reason,
            "",
            "capture /proc/cmdline too, or give cat /proc/cmdline",
        )
        return
    word = s.word("pcie_acs_override=")
    if word and ignores_override(s.host):
        yield Check(
            "acs-override",
            Status.WARN,
            f"{word} is on the command line, and this kernel does not obey it",
            "its groups are those without it; one with the out-of-tree patch would claim what the hardware has not",
            "take it off",
        )
    elif word:
        yield Check(
            "acs-override",
            Status.FAIL,
            f"{word} is on the command line",
            _FICTION,
            _TAKE_OFF,
        )
    else:
        yield Check("acs-override", Status.OK, "no pcie_acs_override= on the command line")


def acs_parameters(s: Subject) -> Iterator[Check]:
    """What of ACS the kernel is told to set at boot, and what of that it does not act on."""
    # The last string of each parameter counts.
    last = {p: w for w in s.words for p in ("config_acs=", "disable_acs_redir=") if w.startswith("pci=") and p in w}
    if last:
        yield Check(
            "acs-parameter",
            Status.WARN,
            f"{' '.join(dict.fromkeys(last.values()))} sets ACS at boot",
            "a port that it opens lets peers reach one another; groups formed before or after may differ",
            "compare: atoll groups",
        )
    ignored = acs_ignored(value_of(s.host.command_line, ""))
    if ignored:
        alike: dict[str, list[str]] = {}
        for what, why in ignored:
            alike.setdefault(why, []).append(what)
        told = (f"{first_of(whats, _SHOWN)} ({why})" for why, whats in alike.items())
        yield Check(
            "acs-parameter-ignored",
            Status.WARN,
            "the kernel does not act on " + "; ".join(told),
            "those ports are as firmware and the kernel's own rule left them, whatever the command line seems to say",
            "write one pci=config_acs= or pci=disable_acs_redir= with all entries, quoted in GRUB's file",
        )
