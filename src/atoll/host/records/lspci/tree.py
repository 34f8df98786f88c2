"""What ``lspci -t`` draws: which bus stands below which port, and with ``-v`` what a function is called.

Source of the form: pciutils ``ls-tree.c`` (``show_tree_bridge``, ``show_tree_bus``, ``show_tree_dev``)::

    -+-[0000:40]-+-00.0
     |           \\-01.1-[41]--+-00.0  Intel Corporation I350 [8086:1521]
     |                        \\-00.1  Intel Corporation I350 [8086:1521]
     \\-[0000:00]-+-00.0
                 \\-1c.0-[01-03]--

Of a line that goes on, the column of its ``+`` or ``\\`` tells whose child it draws. A bracket after a function makes
it a bridge: ``grow_tree`` takes what has class 0604 and a bridge's header. Buses that no bridge forwards stand at the
left. In a bridge's bracket stand the buses that it forwards, and after it those that no bridge among them explains:
``-[03-04]-+-[0000:03]-``, as for virtual functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from atoll.pci.address import Address

__all__ = ["DrawnFunction", "LspciTree"]

_HEX = "[0-9a-fA-F]"
_START = re.compile(rf"-(?:\+-)?\[(?:{_HEX}{{4,8}}:)?{_HEX}{{2}}\]-")
_LATER = re.compile(rf"[+\\]-\[{_HEX}{{4,8}}:{_HEX}{{2}}\]-")
_MARGIN = " \t|│#*>\u00a0"
"""What stands before a line's own branch: other branches, and what marks lines as comments or quoted."""
_MORE = re.compile(rf"[+\\]?-+(?={_HEX}{{2}}\.[0-7]|\[(?:{_HEX}{{4,8}}:)?{_HEX}{{2}}\]-)")
_DEVICE = re.compile(rf"({_HEX}{{2}})\.([0-7])(?![0-9a-zA-Z.])")
_BRIDGE = re.compile(rf"-\[({_HEX}{{2}})(?:-({_HEX}{{2}}))?\]")
_BUS = re.compile(rf"\[(?:({_HEX}{{4,8}}):)?({_HEX}{{2}})\]")
_BRANCH = re.compile(r"(-*)([+\\]-)?")
_ASKEW = 3
"""How far from where they should begin hosts' buses still count as such: some mailers eat a blank."""
_LONGEST_NAME = 200
_NARROW = 56
"""No mailer wraps what is shorter."""
_MOST = 1 << 17


@dataclass(frozen=True, slots=True)
class DrawnFunction:
    """A function in the drawing."""

    address: Address
    above: Address | None
    """The bridge above it; None on a bus that no bridge forwards."""
    buses: tuple[int, int] | None
    """Of a bridge: the lowest and the highest bus below it."""
    name: str
    """Vendor, device and ids as printed; empty without ``-v``."""
    line: int


@dataclass(frozen=True, slots=True)
class _Bus:
    """A bus whose functions are being drawn, or the buses of a bridge."""

    domain: int
    number: int
    above: Address | None


@dataclass(slots=True)
class LspciTree:
    """Takes lines one by one."""

    functions: dict[Address, DrawnFunction] = field(default_factory=dict)
    roots: set[tuple[int, int]] = field(default_factory=set)
    """Buses, with their domains, that no bridge forwards."""
    lost: int = 0
    """Functions whose line does not tell what they stand below."""
    _open: dict[int, _Bus] = field(default_factory=dict)
    """By column, the buses of which more functions may come."""
    _left: int | None = None
    """The column at which hosts' buses stand; None before a drawing."""
    _shift: int = 0
    """How many blanks the lines after the first have lost: to a mark of quotation, or to Markdown."""
    _named: Address | None = None
    """The function whose name the line before may have left for the next."""

    def take(self, line: str, number: int) -> bool:
        """Read a line; return whether it is one of a drawing."""
        named, self._named = self._named, None
        if self._drawn(line, number):
            return True
        if named is not None and line.strip():
            # The rest of a name, if a mailer wrapped it: what may be half a name is no name to find ids by.
            whole = f"{self.functions[named].name} {line.strip()}"[:_LONGEST_NAME]
            self.functions[named] = replace(self.functions[named], name=whole)
        return False

    def _drawn(self, line: str, number: int) -> bool:
        if "-" not in line:
            return False
        start = _START.search(line) if "]-" in line else None
        if start is not None and self._left is None and line[: start.start()].strip(_MARGIN):
            # Somebody left out the first host.
            start = _LATER.search(line)
        if start is not None and not line[: start.start()].strip(_MARGIN):
            self._open = {}
            self._left = start.start() + (line[start.start()] == "-")
            self._shift = 0
            self._draw(line, start.start(), None, number)
            return True
        if self._left is None:
            return False
        column = len(line) - len(line.lstrip(_MARGIN))
        more = _MORE.match(line, column)
        if more is None:
            return False
        if line[column] == "-":
            # Markdown takes the backslash for itself.
            line = f"{line[:column]}\\{line[column:]}"
            more = _MORE.match(line, column)
            assert more is not None
        self._go_on(line, column, more.end(), number)
        return True

    def _go_on(self, line: str, column: int, place: int, number: int) -> None:
        assert self._left is not None
        if column + self._shift not in self._open:
            # Two branches never stand as close as that.
            self._shift = next((by for by in (1, -1) if column + by in self._open), self._shift)
        line = " " * self._shift + line if self._shift >= 0 else line[-self._shift :]
        column, place = column + self._shift, place + self._shift
        self._open = {at: bus for at, bus in self._open.items() if at <= column}
        bus = self._open.get(column)
        if line[column] == "\\":
            # The last of its bus: whatever comes in this column after it belongs to another one.
            self._open.pop(column, None)
        if bus is None and not (line[place] == "[" and abs(column - self._left) <= _ASKEW):
            self.lost += line[place] != "["
            return
        self._draw(line, place, bus, number)

    def _draw(self, line: str, place: int, bus: _Bus | None, number: int) -> None:
        """Take what a line draws from a place on: below a bus, or None for a host's buses."""
        above = None if bus is None else bus.above
        while len(self.functions) < _MOST:
            branch = _BRANCH.match(line, place)
            assert branch is not None
            if branch[2] == "+-" and bus is not None:
                self._open[branch.start(2)] = bus
            place = branch.end()
            found = _BUS.match(line, place)
            if found is not None:
                domain = int(found[1], 16) if found[1] else 0 if bus is None else bus.domain
                bus = _Bus(domain, int(found[2], 16), above)
                if above is None:
                    self.roots.add((bus.domain, bus.number))
                place = found.end()
                continue
            device = _DEVICE.match(line, place)
            if device is None or bus is None or int(device[1], 16) > 31:
                return
            address = Address(bus.domain, bus.number, int(device[1], 16), int(device[2], 16))
            bridge = _BRIDGE.match(line, device.end())
            buses = None if bridge is None else (int(bridge[1], 16), int(bridge[2] or bridge[1], 16))
            name = "" if bridge is not None else line[device.end() :].strip()[:_LONGEST_NAME]
            self.functions.setdefault(address, DrawnFunction(address, bus.above, buses, name, number))
            if name and not name.endswith("]") and len(line) >= _NARROW:
                self._named = address
            if bridge is None or buses is None:
                return
            bus, above, place = _Bus(address.domain, buses[0], address), address, bridge.end()
