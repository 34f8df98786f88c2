"""Whether a text shows the functions of more than one machine: what is read of such a text is true of none of them.

That is sure where the machine's own host bridge is two devices, where its root complex is Intel's and AMD's at once,
and where functions are shown under two names (of ``uname -a``, of prompts) or two boards (``DMI:`` of a boot log). Two
boots of one machine, a card that was exchanged, and names with functions under one of them alone are none; nor are two
names under which a function is shown in the same words: of a machine, and of a container of it or a system that was
started on it for a try.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.host.model import Function
from atoll.host.records.lspci.asked import PROMPT
from atoll.host.records.pasted.boot_log import release_of
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import AMD, HYGON, INTEL

__all__ = ["Marks", "contradicts", "two_host_bridges", "two_makers"]

_HOST_BRIDGE = Address(0, 0, 0, 0)
_MAKERS = {INTEL: "Intel", AMD: "AMD", HYGON: "AMD"}
_OWN = frozenset({DeviceClass.HOST_BRIDGE, DeviceClass.ISA_BRIDGE})
"""What of the root bus comes with the processor or the board, from its maker."""
_MADE_UP = frozenset({(AMD, 0x7432)})
"""bhyve's, which stands beside Intel's ISA bridge (FreeBSD ``usr.sbin/bhyve/pci_hostbridge.c``)."""
_NOBODY = frozenset({"localhost", "(none)", "host", "hostname"})
_CONTAINER = re.compile(r"[\da-f]{12}")
"""What a container is called by itself: it shows the functions of its host."""
_BOARD = re.compile(r"\bDMI: (\S.{2,160}?)(?:, BIOS .*)?$")
_FUNCTION = re.compile(r"[\W_]*(?:[\da-fA-F]{4,8}:)?[\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]\s+\S")
_ADDRESS = re.compile(r"\b[\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]\b")
_SHOWN = re.compile(r"\b([\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]):?\s+(\S.*)")
_OPTIONAL = re.compile(r"\s?(?:\[[\da-fA-F]{4}(?::[\da-fA-F]{4})?\]|\((?:rev|prog-if) [^()]{1,80}\))")
"""What lspci prints or not, as it was asked."""


@dataclass(slots=True)
class _Mark:
    """One kind of name of a machine: the names that the text shows functions under."""

    now: str = ""
    under: dict[str, set[str]] = field(default_factory=dict)
    """What is shown of functions under each, in order of the text."""
    seen: dict[str, None] = field(default_factory=dict)
    """All, in order of the text."""
    behind: int = 0
    """How many of them were told first by what may stand behind a listing."""

    def name(self, name: str, *, behind: bool = False) -> None:
        self.now = name
        if name not in self.seen:
            self.seen[name] = None
            self.behind += behind

    def function(self, wording: str) -> None:
        self.under.setdefault(self.now, set()).add(wording)

    @property
    def two(self) -> tuple[str, str] | None:
        """Two names that both have functions; all listings may stand before the names that they belong to."""
        shown = [found for name, found in self.under.items() if name or self.behind > 1]
        alike = sum(map(len, shown)) > len(set().union(*shown))
        if len(self.seen) < 2 or len(shown) < 2 or alike:
            return None
        one, other, *_ = self.seen
        return one, other


@dataclass(slots=True)
class Marks:
    """Takes lines one by one, for what tells machines apart."""

    _nodes: _Mark = field(default_factory=_Mark)
    _boards: _Mark = field(default_factory=_Mark)

    def take(self, line: str) -> None:
        """Look at a line."""
        text = line.strip()
        if _FUNCTION.match(text) or (("ommu" in text or "OMMU" in text) and _ADDRESS.search(text)):
            wording = _wording(text)
            self._nodes.function(wording)
            self._boards.function(wording)
            return
        if text.startswith("Linux ") or "@" in text:
            node = _node(text)
            if node:
                self._nodes.name(node, behind=text.startswith("Linux "))
        if "DMI: " in text:
            board = _BOARD.search(text)
            if board is not None:
                self._boards.name(board[1])

    @property
    def why(self) -> str:
        """What of the lines shows that they are of two machines; empty where nothing does."""
        for mark, what in ((self._nodes, "machines called"), (self._boards, "the boards")):
            if mark.two is not None:
                one, other = mark.two
                return f"it shows functions of {what} {one!r} and {other!r}"
        return ""


def _wording(text: str) -> str:
    """Return what a line shows of a function, without what depends on options, or the time that a log tells."""
    shown = _SHOWN.search(text)
    return text if shown is None else f"{shown[1]} {_OPTIONAL.sub('', shown[2])}"


def _node(text: str) -> str:
    """Return a machine's name, without its domain, as ``uname -a`` or a prompt tells it; empty where none does."""
    words = text.split(maxsplit=4)
    name = ""
    if len(words) > 4 and words[0] == "Linux" and words[3].startswith("#") and release_of(words[2]):
        name = words[1]
    elif "@" in text and PROMPT.match(text):
        name = re.split(r"[^\w.-]", text.partition("@")[2], maxsplit=1)[0]
    name = name.partition(".")[0].lower()
    return "" if name in _NOBODY or _CONTAINER.fullmatch(name) else name


def contradicts(one: Function, other: Function) -> bool:
    """Return whether what is told twice of a function cannot be one device: ids are others, or of another maker.

    Without ids makers alone count: lists of names call one device differently.
    """
    if one.ids_told and other.ids_told:
        return (one.vendor, one.device) != (other.vendor, other.device)
    makers = [{vendor for vendor, _ in function.all_ids} for function in (one, other)]
    return None not in makers[0] | makers[1] and makers[0].isdisjoint(makers[1])


def two_host_bridges(one: Function, other: Function) -> str:
    """Return what shows that a host bridge told twice is of two machines; empty where nothing does."""
    bridges = one.address == _HOST_BRIDGE and one.device_class == other.device_class == DeviceClass.HOST_BRIDGE
    return f"it shows two host bridges at {_HOST_BRIDGE}" if bridges and contradicts(one, other) else ""


def two_makers(functions: Mapping[Address, Function]) -> str:
    """Return what shows that root complexes of two makers are in one text; empty where nothing does."""
    found: dict[str, Address] = {}
    for function in functions.values():
        if function.address.domain or function.address.bus or not _MADE_UP.isdisjoint(function.all_ids):
            continue
        makers = {_MAKERS.get(vendor) if vendor is not None else None for vendor, _ in function.all_ids}
        (maker,) = makers if len(makers) == 1 else (None,)
        # Cards may bring Intel's bridges, at conventional slots of the root bus.
        port = function.device_class == DeviceClass.PCI_BRIDGE and maker == "AMD"
        if maker is not None and (port or function.device_class in _OWN):
            found.setdefault(maker, function.address)
    if len(found) < 2:
        return ""
    return "its root complex is " + " and ".join(f"{maker}'s at {address}" for maker, address in found.items())
