"""Ports given back: which stay as they are set, what the others were set to, and who is grouped anew by that."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from functools import partial

from atoll.act.attempts import Attempts
from atoll.act.below import is_above
from atoll.act.failure import Failure
from atoll.act.regrouped import keeps_its_group
from atoll.act.steps.ports import power_control, read_control, restore_power, set_control
from atoll.act.steps.regroup import check_free, found_apart, regroup
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["PortsGivenBack"]


@dataclass(slots=True, kw_only=True)
class PortsGivenBack(Attempts):
    """Ports of a release, and the groups of what is below them."""

    closed: frozenset[Address] = frozenset()
    """Ports that stay as they are set: others are below them."""
    unmoved: frozenset[Address] = frozenset()
    """Functions that others have, or the host needs, which keep the groups in which they were found again."""

    def regrouped_later(self, closed: Collection[Address]) -> set[Address]:
        """Return what is below a port that stays as it is set: found again now, it would get the group that it has.
        Opened one day, that port would leave it with a group that nothing isolates."""
        moved = set()
        for address, before in self.was.items():
            port = next((port for port in sorted(closed) if is_above(self.site.host, address, port)), None)
            if before.removed and port is not None:
                moved.add(address)
                self.left.append(keeps_its_group(address, port))
        return {a for a in self.was if any(is_above(self.site.host, a, port) for port in moved)}

    def ports_that_stay(self, later: Container[Address]) -> set[Address]:
        """Return the functions above what cannot be regrouped: what isolates its group is not taken away from it."""
        stays = {a for a, was in self.was.items() if was.removed and a not in later and not self.can_be_regrouped(a)}
        return self.ports_above(stays)

    def ports_above(self, functions: Collection[Address]) -> set[Address]:
        """Return what of all that is given back is above some functions, or is one of them."""
        return {port for port in self.was for a in functions if is_above(self.site.host, a, port)}

    def can_be_regrouped(self, address: Address) -> bool:
        """Whether a function, or a port and all below it, can be grouped by what is set then; not while something there
        is in use again. What isolates groups that stay as they are is not taken away beneath them."""
        if address in self.vanished:
            return True
        try:
            check_free(self.site, address)
        except Failure as error:
            if not self.there(address):
                return True
            self.left.append(f"{address} keeps the group that it has, and ports their setting: {error.message}")
            return False
        return True

    def restore_ports(self, closed: Container[Address]) -> None:
        """Give ports and functions their ACS settings of before, but for those that stay ``closed``."""
        for address, before in self.was.items():
            if isinstance(before.acs, int) and address not in closed:
                self.restore_acs(address, AcsFlag(before.acs))
                if isinstance(before.power, str) and power_control(self.site.machine, address) not in (
                    "",
                    before.power,
                ):
                    sleep = partial(restore_power, self.site.machine, address, before.power)
                    self.attempt("set-acs", address, sleep, f"power/control {before.power}")

    def restore_acs(self, address: Address, control: AcsFlag) -> None:
        """Give a port or function its ACS setting of before, where it has another."""
        machine = self.site.machine
        try:
            as_before = read_control(machine, address) == control
        except Failure:
            # That is found again, and told, by who writes it.
            as_before = False
        if not as_before:
            self.attempt("set-acs", address, partial(set_control, machine, address, control), f"ACS {control.lspci}")

    def regroup(self, addresses: Sequence[Address]) -> None:
        """Have what was removed for its group found again once more; of ports, nothing is owed then."""
        for address in addresses:
            if self.was[address].removed:
                self.attempt("regroup", address, partial(regroup, self.site, address), "removed and found again")
            if self.site.host.functions[address].is_port and address not in self.vanished:
                self.compare(address)
                self.forget(address)
        opened = [address for address in addresses if self.was[address].together and address not in self.vanished]
        self.left += found_apart(self.site.machine, opened, self.was)
