"""The order of steps: everything quiet first, then routing and groups, then device by device, links last.

Cut before hand-over; devices that need no reset are cut before others are reset, so that no reset opens a link
whose other end could have been cut already; the host's own devices get their driver back at the very end.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.controls.link_control import LinkControl
from atoll.controls.registry import link_control
from atoll.events.effect import reset_functions
from atoll.events.reset import ResetKind
from atoll.fabric.domains import holder_of
from atoll.fabric.links import near_end
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import Function
from atoll.isolation.clusters import HOST, Clusters, Handover
from atoll.pci.address import Address
from atoll.plan.bandwidth import inside
from atoll.plan.needs import Needs
from atoll.plan.possession import holder_name, holds_for
from atoll.plan.regrouping import Regrouping
from atoll.plan.reopening import opening_method
from atoll.plan.step import Step, StepKind

__all__ = ["Sequence"]


class Sequence:
    """Lays the steps of one plan out; made for one call of ``steps``."""

    def __init__(
        self, topology: Topology, settings: Settings, clusters: Clusters, wanted: Needs, regrouping: Regrouping
    ) -> None:
        self.topology = topology
        self.settings = settings
        self.clusters = clusters
        self.wanted = wanted
        self.regrouping = regrouping
        self.owner = clusters.cluster_of(topology.functions)
        self.by_name = {cluster.name: cluster for cluster in clusters.named}
        self._count = 0

    def steps(self) -> tuple[Step, ...]:
        """Return all steps in order."""
        named = sorted(self.clusters.owner())
        mine = [address for address in named if not self._is_brick(address)]
        neighbours = [a for a in sorted(self.wanted.cut) if self.owner[a] == HOST and self._missing(a)]
        changing = [a for a in mine if self._changes(a)]
        steps: list[Step] = []
        for address in (*changing, *neighbours):
            steps.extend(self._quiet(address))
        steps.extend(self._ports())
        steps.extend(self._regroup())
        for address in changing:
            steps.extend(self._bind(address))
        calm = [a for a in (*mine, *neighbours) if not self._resets(a)]
        for address in (*calm, *(a for a in mine if self._resets(a))):
            steps.extend(self._device(address))
        for address in mine:
            if self._keeps(address) and not self._held(address):
                steps.append(self._step(StepKind.HAND_OVER, address, "everything is cut and verified: it may be used"))
        for address in neighbours:
            steps.extend(self._give_back(address))
        return tuple(steps)

    # What is so now.

    def _function(self, address: Address) -> Function:
        return self.topology.functions[address]

    def _is_brick(self, address: Address) -> bool:
        """NPU functions have no owner of their own: they follow their GPU and need no driver."""
        return any(brick.function == address for brick in self.topology.host.npu_bricks)

    def _held(self, address: Address) -> bool:
        return holds_for(holder_of(self.topology.host, self._function(address)), self.owner[address])

    def _handover(self, address: Address) -> Handover | None:
        cluster = self.by_name.get(self.owner[address])
        return cluster.handover if cluster is not None else None

    def _keeps(self, address: Address) -> bool:
        return self._handover(address) in (Handover.HELD, Handover.BROKER)

    def _cut_now(self, address: Address) -> frozenset[int]:
        return self.settings.cut.get(address) or frozenset()

    def _reopen(self, address: Address) -> frozenset[int]:
        """Links inside the cluster that are cut at this end now, and that a reset opens."""
        if self.owner[address] == HOST or self._method(address) is None:
            return frozenset()
        numbers = {near_end(link, address).number for link in inside(self.topology, self.owner, address)}
        cut = frozenset(n for n in numbers if n is not None) & self._cut_now(address)
        return cut - self._cut_after_reset(address)

    def _cut_after_reset(self, address: Address) -> frozenset[int]:
        """What is cut once it was reset: nothing, but by a kernel that cuts by itself."""
        after = reset_functions(self.topology, self.settings, (address,), ResetKind.BUS)
        return after.cut.get(address) or frozenset()

    def _resets(self, address: Address) -> bool:
        """Whether the plan resets it: to open links, or because a holder opens it."""
        return bool(self._reopen(address)) or (self._keeps(address) and not self._held(address))

    def _missing(self, address: Address) -> frozenset[int]:
        """Links still to be cut, once resets have taken place."""
        wanted = self.wanted.cut.get(address, frozenset())
        cut = self._cut_after_reset(address) if self._resets(address) else self._cut_now(address)
        return wanted - cut

    def _driver(self, address: Address) -> str | None:
        return value_of(self._function(address).driver, None)

    def _target(self, address: Address) -> str:
        cluster = self.by_name[self.owner[address]]
        return cluster.driver

    def _changes(self, address: Address) -> bool:
        """Whether a named function must be taken from whoever drives it now."""
        if self._held(address):
            return False
        if address in self.regrouping.regroup or self._driver(address) != self._target(address):
            return True
        return self._handover(address) is Handover.KERNEL and bool(self._missing(address) or self._reopen(address))

    # Making steps.

    def _step(self, kind: StepKind, device: Address, because: str, **fields: object) -> Step:
        self._count += 1
        words = _WORDS[kind]
        return Step(
            id=f"s{self._count}",
            kind=kind,
            device=device,
            because=because,
            precondition=words[0],
            check=words[1],
            undo=words[2],
            cluster=self.owner[device] if not self._function(device).is_port else None,
            **fields,  # type: ignore[arg-type]
        )

    def _quiet(self, address: Address) -> Iterator[Step]:
        function, driver = self._function(address), self._driver(address)
        host = self.owner[address] == HOST
        why = "its links to tenants are cut at this end too" if host else f"it is given to {self.owner[address]}"
        override = None if host else self._target(address)
        # A host driver that already has its device goes too: nothing is cut under a running driver.
        stays = not host and driver == self._target(address) and self._handover(address) is not Handover.KERNEL
        if driver is not None and (not stays or address in self.regrouping.regroup):
            yield self._step(StepKind.UNBIND, address, why, driver=driver, override=override)
        command = self.settings.command.get(address)
        pending = value_of(function.pending, None)
        quiet = self.settings.can_master(address) is False and command is not None and pending is False
        if driver is not None or not quiet:
            yield self._step(StepKind.QUIESCE, address, "routing and links change under no running device")

    def _ports(self) -> Iterator[Step]:
        # What groups need was found with all that is wanted anyway set already.
        for address, control in sorted({**self.wanted.acs, **self.regrouping.acs}.items()):
            before = self.settings.acs.get(address)
            because = (
                "so that the kernel forms smaller groups below it"
                if address not in self.wanted.acs
                else "peer-to-peer requests and false requester ids from below must not pass"
            )
            yield self._step(StepKind.SET_ACS, address, because, acs_before=before, acs=control)

    def _regroup(self) -> Iterator[Step]:
        for address in sorted(self.regrouping.remove):
            yield self._step(StepKind.REMOVE, address, "its group spans two owners; groups are formed at discovery")
        for address, group in sorted(self.regrouping.remove.items()):
            if self._function(address).is_port:
                because = "what is below it is to be grouped by the routing that is set now"
                yield self._step(StepKind.RESCAN, address, because, group=group)
        for address, group in sorted(self.regrouping.regroup.items()):
            fields = {"group": group, "override": self._target(address)}
            yield self._step(StepKind.RESCAN, address, "to be grouped by the routing that is set now", **fields)

    def _bind(self, address: Address) -> Iterator[Step]:
        driver = self._target(address)
        if self._handover(address) is Handover.KERNEL:
            return
        if self._driver(address) != driver or address in self.regrouping.regroup:
            yield self._step(StepKind.BIND, address, f"its owner {self.owner[address]} uses it", driver=driver)

    def _device(self, address: Address) -> Iterator[Step]:
        control = link_control(self._function(address))
        keeps = self._keeps(address)
        holder = holder_name(self.owner[address]) if keeps else None
        if keeps and not self._held(address):
            because = "its holder opens it (which resets it) and keeps it open"
            yield self._step(StepKind.LEASE, address, because, holder=holder)
        elif self._reopen(address):
            links = ", ".join(map(str, sorted(self._reopen(address))))
            because = f"link(s) {links} inside {self.owner[address]} are cut, and nothing but a reset opens them"
            fields = {"method": self._method(address), "holder": holder}
            yield self._step(StepKind.RESET, address, because, **fields)
        if control is not None:
            yield from self._cut(address, control, holder)
        if self._handover(address) is Handover.KERNEL and self._changes(address):
            yield self._step(StepKind.BIND, address, "a host driver owns it", driver=self._target(address))

    def _cut(self, address: Address, control: LinkControl, holder: str | None) -> Iterator[Step]:
        links = tuple(sorted(self._missing(address)))
        if not links:
            return
        every = tuple(sorted(self.wanted.cut[address]))
        because = "they lead out of its cluster" if self.owner[address] != HOST else "they lead to tenants"
        yield self._step(
            StepKind.CUT_LINKS,
            address,
            because,
            control=control.name,
            links=links,
            mask=control.mask(links),
            holder=holder,
        )
        yield self._step(
            StepKind.VERIFY,
            address,
            "a cut counts once the device itself says so",
            control=control.name,
            links=every,
            mask=control.mask(every),
            holder=holder,
        )

    def _method(self, address: Address) -> str | None:
        return opening_method(self.topology, address)

    def _give_back(self, address: Address) -> Iterator[Step]:
        driver = self._driver(address)
        if driver is not None:
            yield self._step(StepKind.BIND, address, "the host's own device gets its driver back", driver=driver)


_WORDS: dict[StepKind, tuple[str, str, str]] = {
    StepKind.UNBIND: ("nobody has it open; the host does not need it", "it has no driver", "bind the driver again"),
    StepKind.QUIESCE: ("it has no driver, nobody has it open", "bus mastering off, nothing pending", "nothing to undo"),
    StepKind.SET_ACS: ("what hangs below is quiet", "the control word reads back", "write the word of before"),
    StepKind.REMOVE: ("it has no driver, nobody has it open", "it is gone from sysfs", "rescan"),
    StepKind.RESCAN: ("its parent is there", "it is back, in the predicted group", "nothing to undo"),
    StepKind.BIND: ("it has no driver", "the driver has it", "unbind"),
    StepKind.RESET: ("its bus mastering is off, or its owner is this cluster", "it answers again", "cannot be undone"),
    StepKind.LEASE: ("vfio-pci has it, its group is viable", "the descriptor is open", "close it (which resets it)"),
    StepKind.CUT_LINKS: ("the chip is the one expected", "the mask reads back", "a reset of the device"),
    StepKind.VERIFY: ("none", "all cut links read as cut", "nothing to undo"),
    StepKind.HAND_OVER: ("all cuts are verified", "bus mastering and memory decoding on", "bus mastering off"),
}
