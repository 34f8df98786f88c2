"""Rows of the kernel's ACS table that recorded groups show at work: a text seldom tells the kernel's release."""

from __future__ import annotations

from collections.abc import Callable

from atoll.host.fact import value_of
from atoll.host.model import Function, Host
from atoll.isolation.groups.judgement import Judgement
from atoll.pci.quirks.acs import AcsHandler, acs_handlers

__all__ = ["ShownRows"]

_BY_KIND = (AcsHandler.RCIEP, AcsHandler.INTEL_PCH)
"""Handlers with one row for all of a vendor's devices of a kind: any of them shows it."""
_BY_DEVICE = (AcsHandler.MF_ENDPOINT, AcsHandler.AMD_SB)

_Row = tuple[AcsHandler, int, int | None]
_Slot = tuple[int, int, int]


class ShownRows:
    """What the groups of one host show, each row looked for once.

    They show nothing of a kernel that is told to take functions as isolating (``pcie_acs_override=``).
    """

    def __init__(
        self,
        host: Host,
        plain: Callable[[Function], Judgement],
        asked: Callable[[AcsHandler, Function], Judgement | None],
    ) -> None:
        """``plain`` judges a function by what it says itself, ``asked`` by one handler of the table."""
        self._host = host
        self._plain = plain
        self._asked = asked
        self._found: dict[_Row, bool] = {}
        self._chipsets: dict[tuple[int, int], bool] = {}
        self._slots: dict[_Slot, list[Function]] | None = None

    def has(self, handler: AcsHandler, function: Function) -> bool:
        """Whether the kernel has the row that counts for a function: groups are told apart that only it tells apart.

        Functions of one slot that do not isolate are in one group (``get_pci_function_alias_group``): one that is
        not in the group of another isolates, and if nothing but the row makes it, the row is there.
        """
        if handler not in (*_BY_KIND, *_BY_DEVICE):
            return False
        row = (handler, function.vendor, None if handler in _BY_KIND else function.device)
        found = self._found.get(row)
        if found is None:
            found = any(
                self._is_apart(other, row) for other in self._host.functions.values() if self._needs(other, row)
            )
            self._found[row] = found
        return found

    def set_up_chipset(self, port: Function) -> bool:
        """Whether the kernel set up the peer decoding of the Intel chipset that a root port is of (RCBA).

        It is the chipset's, reached by the LPC bridge of the port's bus (``pci_quirk_enable_intel_lpc_acs``): what
        holds for one port there holds for all.
        """
        place = port.address[:2]
        found = self._chipsets.get(place)
        if found is None:
            row = (AcsHandler.INTEL_PCH, port.vendor, None)
            found = any(
                self._is_apart(other, row)
                for other in self._host.functions.values()
                if other.address[:2] == place and self._needs(other, row)
            )
            self._chipsets[place] = found
        return found

    def _needs(self, function: Function, row: _Row) -> bool:
        """Whether nothing but a row, which applies to it, makes a function isolate."""
        handler, vendor, device = row
        if function.vendor != vendor or device not in (None, function.device) or not _is_plain(function):
            return False
        if handler not in acs_handlers(vendor, function.device):
            return False
        asked, plain = self._asked(handler, function), self._plain(function)
        return asked is not None and asked.enabled and plain.certain and not plain.enabled

    def _is_apart(self, function: Function, row: _Row) -> bool:
        number = value_of(function.group, None)
        if number is None:
            return False
        return any(
            value_of(other.group, number) not in (None, number) and (self._needs(other, row) or self._never(other))
            for other in self._slot(function)
        )

    def _never(self, function: Function) -> bool:
        """Whether a function isolates on no kernel."""
        if not _is_plain(function):
            return False
        if any(self._asked(h, function) is not None for h in acs_handlers(function.vendor, function.device)):
            return False
        plain = self._plain(function)
        return plain.certain and not plain.enabled

    def _slot(self, function: Function) -> list[Function]:
        if self._slots is None:
            self._slots = {}
            for other in self._host.functions.values():
                self._slots.setdefault(_slot_of(other), []).append(other)
        return self._slots[_slot_of(function)]


def _slot_of(function: Function) -> _Slot:
    return function.address.domain, function.address.bus, function.address.device


def _is_plain(function: Function) -> bool:
    """Whether it is told which device a function is, and that it is none of another's virtual functions."""
    return not (function.possible_ids or function.perhaps_virtual or function.physical_function is not None)
