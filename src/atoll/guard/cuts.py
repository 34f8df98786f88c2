"""The links that a holder keeps cut: those of what it holds, and those to a device that leaves it."""

from __future__ import annotations

from collections.abc import Collection

from atoll.act.machine import Machine
from atoll.controls.present import present
from atoll.controls.registry import link_control
from atoll.fabric.answer import Answer
from atoll.fabric.links import across_links
from atoll.fabric.topology import Topology
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import LOOK_PATIENCE
from atoll.guard.recuts import intend
from atoll.guard.standing import cut_now
from atoll.guard.watch import Sight
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.vfio.errors import VfioError

__all__ = ["Cuts"]


class Cuts:
    """What stays cut, written down and watched every ``interval`` seconds."""

    def __init__(self, machine: Machine, keepers: Keepers, *, interval: float, allow_assumed: bool) -> None:
        """``allow_assumed``: controls that are only assumed to work count."""
        self._machine = machine
        self._keepers = keepers
        self._interval = interval
        self._allow_assumed = allow_assumed
        self.links: dict[Address, frozenset[int]] = {}
        """By the device at whose end they are cut."""

    def keep(self, host: Host) -> None:
        """Write down what is cut now, then have it watched."""
        self.links = cut_now(host, self._keepers)
        if self.links:
            intend(self._machine, self.links)
        for keeping in self._keepers.by_holder.values():
            for address, lease in keeping.leases.items():
                control = link_control(host.functions[address])
                links = self.links.get(address)
                if control is not None and links:
                    lease.watch(control, links, interval=self._interval)

    def cut_off(self, host: Host, address: Address, leaving: Collection[Address]) -> None:
        """Have the links of what stays held kept cut that lead to a device. VfioError where they are not cut, or where
        another way leads to it that cannot be cut: over a switch chip, or over links that no source told.

        What is ``leaving`` too does not stay: pulled together, neither answers any more.
        """
        facing: dict[Address, set[int]] = {}
        for link in host.links:
            for near, far in ((link.a, link.b), (link.b, link.a)):
                if far.function == address and near.function is not None and near.number is not None:
                    facing.setdefault(near.function, set()).add(near.number)
        for keeping in self._keepers.by_holder.values():
            for other, lease in keeping.leases.items():
                control = link_control(host.functions[other])
                if other == address or other in leaving or control is None or not facing.get(other):
                    continue
                wanted = self.links.get(other, frozenset()) | facing[other]
                if wanted != self.links.get(other):
                    intend(self._machine, {other: wanted})
                    lease.watch(control, wanted, interval=self._interval, patience=LOOK_PATIENCE)
                    self.links[other] = wanted
                # One whose closing failed half-way is watched no more, and may be open still.
                looks = keeping.order("looks", patience=LOOK_PATIENCE)["devices"]
                seen = looks.get(str(other), {"sight": None, "reason": "it is not watched"})
                if seen["sight"] != Sight.CUT:
                    raise VfioError(f"the links of {other} that lead to it are not seen to be cut: {seen['reason']}")
        self._check_cut_off(host, address, leaving)

    def _check_cut_off(self, host: Host, address: Address, leaving: Collection[Address]) -> None:
        """Raise VfioError where what stays held may reach a device over links, whose own end counts as open."""
        settings = present(host, allow_assumed=self._allow_assumed)
        held = {other for keeping in self._keepers.by_holder.values() for other in keeping.leases}
        for other in held & settings.cut.keys():
            settings = settings.with_cut(other, self.links.get(other, frozenset()))
        if address in settings.cut:
            settings = settings.with_cut(address, frozenset())
        topology = Topology(host)
        for other in sorted(held - {address, *leaving}):
            found = across_links(topology, settings, other, address)
            if found.answer > Answer.BLOCKED:
                raise VfioError(f"{other} may reach it over links that are not cut: {found.path[0].because}")
