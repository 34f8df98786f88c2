"""The functions of an lspci output as blocks of lines: heading, details, dumped bytes. Wrapped lines are joined.

A detail begins with one of the keys that lspci prints; whatever begins with none continues the one before. So
neither indentation nor line length matters: mailers change both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from atoll.host.records.lspci.asked import asked_in
from atoll.host.records.lspci.block import Block, Capability, Detail
from atoll.host.records.lspci.extended import extended_name
from atoll.host.records.lspci.heading import ids_in_brackets
from atoll.host.records.lspci.left_out import BOX_END, SEPARATOR, leaves_out, left_out_by_program
from atoll.host.records.lspci.line import begins_detail, dumped, heading_of
from atoll.host.records.lspci.slot import Slot, address_in
from atoll.pci.address import Address

__all__ = ["blocks"]

_PICKED = (
    *("Subsystem:", "Flags:", "Control:", "Interrupt:", "NUMA node:", "IOMMU group:", "Kernel driver in use:"),
    *("Kernel modules:", "DevCap:", "DevCtl:", "LnkCap:", "LnkCtl:", "LnkSta:", "ACSCap:", "ACSCtl:", "Region "),
)
"""Details that loops print beside an address, in place of class and name: ``03:00.0 NUMA node: 0``."""
_FIRST = ("DeviceName:", "Subsystem:", "Physical Slot:", "Device tree node:", "!!!", "Flags:", "Control:")
"""What lspci prints right below a function's first line (``show_verbose``)."""
_OWN = ("Control: I/O", "Flags:")
"""What lspci prints once of any function: with -vv, with -v. A capability has flags too (``Flags: PMEClk-``)."""
_LAST = ("Kernel driver in use:", "Kernel modules:")
"""What lspci prints below all capabilities (``show_verbose``)."""
_UNNAMED = ":"
"""A heading without class and name."""
_TYPE = re.compile(
    r"Express (?:\(v\d\) )?(?:(?:Root|Downstream) Port \(Slot[+-]\)|Upstream Port|(?:Legacy )?Endpoint"
    r"|Root Complex (?:Integrated Endpoint|Event Collector)|PCI-Express to PCI/PCI-X Bridge)(?:, MSI \d\d)?"
)
"""What scripts leave of a capability's line that tells a function's type; a name that goes on so does not end there."""
_ACS = "Access Control Services"
_ACS_BITS = ("ACSCap:", "ACSCtl:")
_EXTENDED = 0x100
"""Where the space of extended capabilities begins."""
_LONGEST = 4096
"""So many characters of a wrapped line are kept, about."""
_MOST_DETAILS = 4096
"""So many details, and capabilities, of one function are kept: a text can go on for ever."""
_HEX = frozenset("0123456789abcdefABCDEF")


def blocks(lines: Iterable[tuple[int, str]]) -> Iterator[Block]:
    """Yield the functions of numbered lines. A blank line ends a block's details, not its dump."""
    reader = _Reader()
    for number, line in lines:
        done = reader.take(number, line)
        if done is not None:
            yield done
    last = reader.end(of_output=True)
    if last is not None:
        yield last


class _Reader:
    """Takes lines one by one."""

    def __init__(self) -> None:
        self._block: Block | None = None
        self._parts: list[str] = []
        self._length = 0
        self._line = 0
        self._open = False
        self._gone = False
        """Whether the lines are no longer the current function's: grep left its next heading out."""
        self._apart = False
        """Whether a blank line stands below the current function's lines."""
        self._ended = False
        """Whether what lspci prints last of any function stands below the current one's capabilities."""
        self._asked: Slot | None = None
        """The function that the line before asks lspci of."""

    def take(self, number: int, line: str) -> Block | None:
        """Take a line; return the function before where it is the heading of another one, or where it is typed."""
        found = heading_of(line)
        asked, self._asked = self._asked, None
        if found is None and (typed := asked_in(line)) is not None:
            self._asked = typed.slot
            return self.end(of_output=True)
        if found is None:
            text = line.strip()
            if asked is not None and begins_detail(text):
                self._block = Block(asked, _UNNAMED, number, shortened=True, shortened_early=True, asked=True)
                self._gone = self._apart = self._ended = False
            if self._block is not None:
                self._take_below(self._block, number, text)
            return None
        done = self.end()
        picked = found[1].startswith(_PICKED)
        self._block = Block(found[0], _UNNAMED if picked else "", number, shortened=picked, shortened_early=picked)
        self._begin(found[1], number)
        self._open, self._gone, self._apart, self._ended = True, False, False, False
        return done

    def _take_below(self, block: Block, number: int, text: str) -> None:
        """Take a line below a function's heading."""
        if not text or text == BOX_END:
            going_on = self._open
            self._close()
            self._apart = True
            block.cut |= text == BOX_END and going_on and _may_go_on(block)
        elif self._gone:
            block.nameless |= text.startswith("Control:")
        elif left_out_by_program(text) or _begins_another(block, text):
            self._close()
            lacks = not (self._apart or self._ended)
            block.shortened |= lacks
            block.shortened_early |= lacks and not block.capabilities
            block.nameless |= text.startswith("Control:")
            self._gone = True
        elif self._open and leaves_out(text):
            self._finish()
            block.shortened = True
            block.shortened_early |= not block.capabilities
            self._gone = text == SEPARATOR
        elif (dump := dumped(text)) is not None:
            self._close()
            if dump[0] == len(block.dump):
                block.dump += dump[1]
        elif begins_detail(text):
            self._take_detail(block, number, text)
        elif self._open and _TYPE.fullmatch(text) and self._whole():
            self._finish()
            self._begin(f"Capabilities: {text}", number)
        elif named := _named(text):
            # A function in a form that is not known here: no part of this one's name.
            self._close()
            if any(address != block.slot.address for address in named):
                # A label, or a sentence: what follows is of the function that it names, or nothing tells whose.
                block.shortened |= not (self._apart or self._ended)
                self._gone = True
        elif self._open and self._length < _LONGEST:
            self._parts.append(text)
            self._length += len(text)

    def _take_detail(self, block: Block, number: int, text: str) -> None:
        """Take a line that begins with a key of lspci's: a detail of the function, or of one that was left out."""
        self._finish()
        bare = not (block.details or block.capabilities or block.after)
        below = self._apart and not (bare and text.startswith(_FIRST))
        if below or (self._ended and text.startswith(("Capabilities:", *_ACS_BITS))):
            # Below a blank line, or what lspci prints last, is what somebody picked out of the lines of others.
            block.shortened |= not (bare or self._ended or text.startswith("Subsystem:"))
            self._gone = True
            return
        self._apart = False
        # Scripts print the driver above the capabilities, and nothing prints it between them.
        self._ended |= bool(block.capabilities) and text.startswith(_LAST)
        if text.startswith("Capabilities:") and _of_another(block, text):
            block.shortened = self._gone = True
            return
        if text.startswith(_ACS_BITS) and not _names_acs(block):
            self._name_acs(block)
        self._begin(text, number)
        self._open = True

    @staticmethod
    def _name_acs(block: Block) -> None:
        """Begin the capability of which only the bits are there: its own line, if it had one, was left out."""
        above = block.capabilities[-1] if block.capabilities else None
        # Scripts tell capabilities without their places.
        block.shortened |= above is None or above.offset is not None
        block.capabilities.append(Capability(_ACS, None))

    def _whole(self) -> bool:
        """Whether the line before needs no more to be whole: a heading with its ids, or a detail with its value."""
        text = " ".join(self._parts)
        if self._block is not None and not self._block.heading:
            return ids_in_brackets(text) is not None
        return not text.endswith(("]", ":"))

    def end(self, *, of_output: bool = False) -> Block | None:
        """Return the block there is. An output's last is whole if a blank line or its driver ends it, as lspci's do."""
        going_on = self._open
        self._finish()
        done, self._block = self._block, None
        self._open = False
        if done is not None and of_output:
            done.cut |= going_on and not done.asked and _may_go_on(done)
        return done

    def _close(self) -> None:
        """End the detail, and let no further line continue it."""
        self._finish()
        self._open = False

    def _begin(self, text: str, number: int) -> None:
        self._parts, self._length, self._line = [text], len(text), number

    def _finish(self) -> None:
        block = self._block
        if block is None or not self._parts:
            return
        text, self._parts = " ".join(self._parts), []
        if not block.heading:
            block.heading = text
            return
        detail = Detail(" ".join(text.split()), self._line)
        if detail.text.startswith("Capabilities:"):
            if len(block.capabilities) < _MOST_DETAILS:
                block.capabilities.append(_capability(detail.text.removeprefix("Capabilities:").strip()))
        elif detail.text.startswith(_LAST):
            block.after.append(detail)
        elif block.capabilities:
            if len(block.capabilities[-1].details) < _MOST_DETAILS:
                block.capabilities[-1].details.append(detail)
        elif len(block.details) < _MOST_DETAILS:
            block.details.append(detail)


def _may_go_on(block: Block) -> bool:
    """Whether lspci may have printed more of a function below whose lines nothing stands that ends it."""
    return bool(block.details or block.capabilities) and not block.after


def _names_acs(block: Block) -> bool:
    return bool(block.capabilities) and block.capabilities[-1].name.startswith(_ACS)


def _begins_another(block: Block, text: str) -> bool:
    """Whether what lspci prints once of any function stands there again, or below capabilities: a heading is lost."""
    if not text.startswith(_OWN) or ("devsel" not in text and not text.startswith("Control:")):
        return False
    return bool(block.capabilities) or any(detail.text.startswith(_OWN) for detail in block.details)


def _of_another(block: Block, text: str) -> bool:
    """Whether a capability is that of a function whose heading a pattern left out.

    A function has one PCI Express capability, and lspci shows the extended ones (``show_ext_caps``) after the others.
    """
    found = _capability(text.removeprefix("Capabilities:").strip())
    if found.name.startswith("Express "):
        return any(above.name.startswith("Express ") for above in block.capabilities)
    last = block.capabilities[-1].offset if block.capabilities else None
    return found.offset is not None and last is not None and found.offset < _EXTENDED <= last


def _named(text: str) -> list[Address]:
    """Return the functions that the first words of a line name."""
    if "." not in text:
        return []
    return [found for word in text.split(None, 6)[:6] if (found := address_in(word.strip("=*#<>"))) is not None]


def _capability(text: str) -> Capability:
    offset: int | None = None
    if text.startswith("["):
        place, _, rest = text[1:].partition("]")
        word = place.split()[0] if place.split() else ""
        if 1 <= len(word) <= 3 and _HEX.issuperset(word):
            offset, text = int(word, 16), rest.strip()
    return Capability(extended_name(text) if (offset or 0) >= _EXTENDED else text, offset)
