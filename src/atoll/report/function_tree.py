"""The functions of a host drawn as a tree: root buses, what hangs below them, and notes on each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from atoll.host.model import Function, Host
from atoll.pci.address import Address
from atoll.report.function_links import links_by_function
from atoll.report.function_notes import UNTOLD, function_notes
from atoll.report.function_words import driver_words, group_words, type_words
from atoll.report.layout import cut, display_width, plural, room, tree, wrap
from atoll.report.names import Names
from atoll.report.style import Style

__all__ = ["function_tree"]

_MOST_ALIKE = 4
_WIDEST_DRIVER = 28
_LEAST_NAME = 8


def function_tree(host: Host, *, names: Names, style: Style, verbose: bool) -> list[str]:
    """Return the lines of a host that has functions, a tree for each root bus."""
    links = links_by_function(host)
    notes = {
        address: function_notes(host, function, links.get(address, []), style, verbose)
        for address, function in host.functions.items()
    }
    common = {} if verbose else _common(notes.values())
    drawing = _Drawing(
        host, names, style, {a: [note for note in own if note not in common] for a, own in notes.items()}
    )
    lines = []
    for root_bus in drawing.root_buses:
        lines += ["", *tree([root_bus], drawing.below, drawing.lines_of)]
    for note, count in common.items():
        lines += ["", *wrap(f"Of {plural(count, 'function')} alike: {note}")]
    return lines


def _common(notes: Iterable[list[str]]) -> dict[str, int]:
    """What a record does not tell of many functions, with of how many: it is told once, below the tree."""
    counts = Counter(note for own in notes for note in own if any(word in note for word in UNTOLD))
    return {note: count for note, count in counts.items() if count > _MOST_ALIKE}


class _Drawing:
    """A tree whose nodes are root buses, by name, and functions; group and driver stand in columns to the right."""

    def __init__(self, host: Host, names: Names, style: Style, notes: Mapping[Address, list[str]]) -> None:
        self._names = names
        self._style = style
        self._notes = notes
        self._below: dict[Address, list[Function]] = {}
        self.root_buses: dict[str, list[Function]] = {}
        for function in host.functions.values():
            if function.parent is not None and function.parent in host.functions:
                self._below.setdefault(function.parent, []).append(function)
            else:
                self.root_buses.setdefault(function.host_bridge or "root bus", []).append(function)
        functions = host.functions.values()
        self._group_width = max(len("GROUP"), *(len(group_words(function)) for function in functions))
        widest = max(len("DRIVER"), *(len(driver_words(function)) for function in functions))
        self._driver_width = min(widest, _WIDEST_DRIVER)
        self._left = room() - self._group_width - self._driver_width - 4
        """Columns that the tree itself has."""

    def below(self, node: Function | str) -> list[Function]:
        """Return what hangs right below a root bus or a function."""
        return self.root_buses[node] if isinstance(node, str) else self._below.get(node.address, [])

    def lines_of(self, node: Function | str, used: int) -> list[str]:
        """Return the lines of a node, of which the branches to the left took ``used`` columns."""
        return [self._heading(node)] if isinstance(node, str) else self._function(node, used)

    def _heading(self, root_bus: str) -> str:
        maker = self.root_buses[root_bus][0].behind
        called = f"{root_bus}, made by the VMD {maker}" if maker is not None else root_bus
        columns = f"  {'GROUP':>{self._group_width}}  DRIVER"
        return self._style.bold(f"{called:<{self._left}}") + self._style.faint(columns)

    def _function(self, function: Function, used: int) -> list[str]:
        name, ids = str(function.address), self._names.ids(function)
        left = self._left - used - len(name) - 2
        kind = type_words(function) if function.is_port else self._names.class_name(function.class_code)
        called = self._names.function_name(function)
        what = cut(f"{kind}: {called}" if called else kind, max(left - len(ids) - 1, _LEAST_NAME))
        text = f"{name if function.is_port else self._style.bold(name)}  {what} {self._style.faint(ids)}"
        text += " " * (self._left - used - display_width(text))
        driver = cut(driver_words(function), self._driver_width)
        head = f"{text}  {group_words(function):>{self._group_width}}  {driver}".rstrip()
        beside = room() - used - 3
        notes = [line for note in self._notes[function.address] for line in wrap(note, first="  ", width=beside)]
        return [head, *notes]
