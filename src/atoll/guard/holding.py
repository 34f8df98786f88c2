"""One holder's life: achieve what its file asks for, keep it so and answer, give all back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from atoll.act import device
from atoll.act.entries import Entry
from atoll.act.executor import Progress, execute
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.others import with_others
from atoll.act.outcome import Outcome
from atoll.act.own_folder import hint_for
from atoll.act.pace import Pace
from atoll.act.release import release
from atoll.act.running import end_runs
from atoll.act.uninterrupted import uninterrupted
from atoll.controls.registry import registers
from atoll.errors import AtollError, InputError, Interrupted, RefusedError, StepError
from atoll.fabric.answer import Policy
from atoll.fabric.domains import holder_of
from atoll.guard.cuts import Cuts
from atoll.guard.departures import Departures
from atoll.guard.desk import Desk
from atoll.guard.keeper import DEFAULT_INTERVAL
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import LOOK_PATIENCE
from atoll.guard.leave import LOST, leave, own_entries
from atoll.guard.listener import listening
from atoll.guard.message import SOCKET
from atoll.guard.notify import Notifier
from atoll.guard.owners import Tenant, owner_uid, tenants
from atoll.guard.proving import Proving, told
from atoll.guard.recuts import Recuts
from atoll.guard.service import Service
from atoll.guard.standing import read_now, statement, with_held
from atoll.host import read_host
from atoll.host.model import Host
from atoll.isolation.clusters import Cluster, Clusters, Handover
from atoll.isolation.moment import Statement
from atoll.isolation.proof import Verdict
from atoll.pci.address import Address
from atoll.plan.possession import HOLDER_PREFIX
from atoll.plan.step import Plan

__all__ = ["DEFAULT_GRACE", "Ended", "Holding", "held_clusters"]

_LOG = logging.getLogger("atoll.guard")
DEFAULT_GRACE = 30.0
"""Seconds for which owners are waited for at the end."""
_ANEW = "atoll hold SPEC begins anew"
_ENDING_SECONDS = 60.0
"""How long a service manager is asked to wait until all is given back, where that begins at once."""
_LEAVING_SECONDS = 30.0
"""How long the kernel may take to remove what was let go for it."""
_RECOVER = "once the reason is gone, run atoll recover: it gives back what is left"


def held_clusters(clusters: Clusters) -> tuple[Cluster, ...]:
    """Return the clusters that a holder holds. Raises InputError where there is none, or one that a broker serves."""
    for cluster in clusters.named:
        if cluster.handover is Handover.BROKER:
            raise InputError(
                f'cluster {cluster.name}: handover = "broker" needs a broker, which a holder is not',
                hint='handover = "held" hands devices over by descriptor',
            )
    held = tuple(cluster for cluster in clusters.named if cluster.handover is Handover.HELD)
    if not held:
        raise InputError("no cluster of the file is to be held", hint='say handover = "held", or: atoll apply SPEC')
    return held


@dataclass(frozen=True, slots=True)
class Ended:
    """How a holder ended."""

    outcome: Outcome | None
    """What was given back; None where owners were left, who keep all of it as it is."""
    tenants: tuple[Tenant, ...] = ()
    """Who still had something open."""
    cut: tuple[str, ...] = ()
    """What became of links then that the end of the keepers opened: sentences."""


@dataclass(slots=True)
class Holding:
    """A holder at work."""

    machine: Machine
    keepers: Keepers
    clusters: Clusters
    spec: str
    """The cluster file's text."""
    policy: Policy = Policy.STRICT
    interval: float = DEFAULT_INTERVAL
    grace: float = DEFAULT_GRACE
    notifier: Notifier = field(default_factory=Notifier)
    _uids: dict[str, int] = field(default_factory=dict)
    _cuts: Cuts = field(init=False)
    _gone: set[Address] = field(default_factory=set)
    """Devices that were let go since the kernel wanted them back."""
    _done: tuple[Entry, ...] = ()
    """What was done of the plan, as the journal had it: should that be lost, it is known all the same what is cut."""

    def __post_init__(self) -> None:
        self._cuts = Cuts(self.machine, self.keepers, interval=self.interval, allow_assumed=self.clusters.allow_assumed)

    @property
    def held(self) -> tuple[Cluster, ...]:
        """The clusters that it holds."""
        return held_clusters(self.clusters)

    def check(self, host: Host) -> None:
        """Raise for what must not even be begun: owners whom nobody knows, devices that a stray keeper has."""
        self._uids = {cluster.name: owner_uid(cluster) for cluster in self.held}
        for cluster in self.held:
            for address in cluster.functions:
                holder = holder_of(host, host.functions[address])
                if holder is not None and holder.name.startswith(HOLDER_PREFIX):
                    raise RefusedError(
                        f"{address} is open in process {holder.pid} ({holder.name}), which belongs to no holder",
                        hint=f"end it (kill -KILL {holder.pid}: it hears nothing else), then run atoll recover",
                    )

    def achieve(self, host: Host, plan: Plan, *, progress: Progress | None = None) -> tuple[Outcome, Statement]:
        """Carry the plan out and prove what is so then; unless that is proven, everything is given back.

        Raises as ``execute`` does; StepError where giving back fails.
        """
        with self.given_back_where_interrupted():
            return self._achieve(host, plan, progress)

    def _achieve(self, host: Host, plan: Plan, progress: Progress | None) -> tuple[Outcome, Statement]:
        try:
            outcome = execute(self.machine, host, plan, progress=progress, verb="hold", stays=True)
        except BaseException as error:
            if _untold(error):
                raise
            # Where a device was opened by somebody meanwhile, nothing was undone.
            for told in leave(self.machine, self.keepers, self._gone):
                _LOG.warning("left=%r", told)
            raise
        with self._given_back_otherwise():
            self._done = own_entries(self.machine) or ()
            now = read_now(self.machine, self.keepers)
            found = statement(now, with_others(self.machine, now, self.clusters), self.policy)
            if found.verdict is Verdict.PROVEN:
                self._cuts.keep(now)
        if found.verdict is not Verdict.PROVEN:
            back = self.give_back()
            left = (*back.left, "this is not isolated, so nothing is held: all was given back")
            outcome = Outcome(outcome.deeds, (*outcome.left, *left))
        return outcome, found

    @contextmanager
    def _given_back_otherwise(self) -> Iterator[None]:
        """Where it fails, give everything back, which no further interrupt ends. Raises Interrupted, which tells that,
        in place of an interrupt."""
        try:
            yield
        except BaseException as error:
            told = self._given_back()
            if isinstance(error, KeyboardInterrupt):
                raise _interrupted(told) from error
            if isinstance(error, OSError):
                place = f"{error.filename}: " if error.filename else ""
                raise StepError(f"{place}{error.strerror or error}: {told}", hint=hint_for(error) or _ANEW) from error
            if isinstance(error, AtollError | Failure):
                raise StepError(f"{error.message}: {told}", hint=error.hint or _ANEW) from error
            raise

    @contextmanager
    def given_back_where_interrupted(self) -> Iterator[None]:
        """Give everything back, and raise Interrupted, where an interrupt comes between parts of the work: all that was
        to be done is done, and nothing else tells what became of it."""
        try:
            yield
        except KeyboardInterrupt as error:
            if not _untold(error) or not own_entries(self.machine):
                raise
            raise _interrupted(self._given_back()) from error

    def _given_back(self) -> str:
        """Give everything back, which no further interrupt ends; return that in words."""
        self.notifier.stopping(_ENDING_SECONDS)
        with uninterrupted():
            outcome = self.end(()).outcome
        left = f" Left: {'; '.join(outcome.left)}." if outcome is not None and outcome.left else ""
        return f"all was given back.{left}"

    # -- keeping it so

    def serve(self, host: Host, started: Callable[[Service], None]) -> tuple[Tenant, ...]:
        """Answer until stopped; return the owners that are left. ``started`` is called once all is up.

        Where that fails, everything is given back.
        """
        with self._given_back_otherwise():
            return self._serve(host, started)

    def _serve(self, host: Host, started: Callable[[Service], None]) -> tuple[Tenant, ...]:
        departures = Departures(
            lambda address: self._users(host, address),
            lambda address, leaving: self._cuts.cut_off(host, address, leaving),
            gone=self._gone,
        )
        path = self.machine.state_path(SOCKET)
        assert path is not None
        with (
            listening(path) as listener,
            Recuts(self.machine) as recuts,
            self.proving() as proving,
            Service(
                *(listener, self.keepers, recuts, self.notifier, departures, proving),
                lambda: self._left(host),
                grace=self.grace,
            ) as service,
        ):
            desk = Desk(self.held, self._uids, self.keepers, self._cuts.links, departures, proving.ask, service.stop)
            started(service)
            names = ", ".join(cluster.name for cluster in self.held)
            self.notifier.ready(f"holding {names}")
            return service.run(desk)

    def proving(self) -> Proving:
        """Return what proves, for those who ask."""
        return Proving(self._read, self._look, self._stated, self.notifier)

    def _read(self) -> Host:
        return read_host(self.machine, registers=registers)

    def _look(self, host: Host) -> Host:
        return with_held(host, self.keepers, patience=LOOK_PATIENCE)

    def _stated(self, host: Host) -> Mapping[str, Any]:
        gone = frozenset(self._gone)
        clusters = with_others(self.machine, host, self.clusters, gone=gone)
        return told(statement(host, clusters, self.policy, gone=gone), self.policy)

    def _left(self, host: Host) -> Sequence[Tenant]:
        # Those of clusters that a VMM opens itself, too: nothing is taken from a running owner.
        mine = self.keepers.pids
        devices = [address for cluster in self.clusters.named for address in cluster.functions]
        return tenants(self.machine, host, devices, keepers=mine)

    def _users(self, host: Host, address: Address) -> Sequence[Tenant]:
        return tenants(self.machine, host, (address,), keepers=self.keepers.pids)

    # -- the end

    def give_back(self) -> Outcome:
        """Release all clusters as ``atoll release`` does; bus mastering goes off before devices are closed.

        Raises StepError where a device could not be given back.
        """
        # What the kernel takes away at this moment is in its hands.
        Pace().until(lambda: not any(map(self._leaves, self._gone)), seconds=_LEAVING_SECONDS)
        try:
            lost = self._done if own_entries(self.machine) is None else ()
            now = read_now(self.machine, self.keepers)
            outcome = release(self.machine, now, self.clusters, spec=self.spec)
        except (RefusedError, InputError) as error:
            raise StepError(f"giving back failed: {error.message}", hint=error.hint) from error
        self.keepers.close()
        end_runs(self.machine)
        if lost:
            others = {e.step.device for e in lost} - {a for c in self.held for a in c.functions} - self._gone
            stays = [f"{one}: what was changed of it stays" for one in sorted(others)]
            outcome = replace(outcome, left=(*outcome.left, LOST, *stays))
        return outcome

    def _leaves(self, address: Address) -> bool:
        """Whether the kernel is about to take a device that was let go: the link to its driver goes first. With that
        still there its owner had asked in the kernel's place, as he can (VFIO_DEVICE_SET_IRQS)."""
        return device.driver(self.machine, address) is None and device.has_vfio(self.machine, address)

    def end(self, left: tuple[Tenant, ...]) -> Ended:
        """Give all back, unless owners are left: then nothing is opened to them, and the journal keeps the run open.

        Raises StepError where giving back fails: what could not be given back is as where owners are left.
        """
        if left:
            return Ended(None, left, leave(self.machine, self.keepers, self._gone, self._done))
        try:
            return Ended(self.give_back())
        except StepError as error:
            told = "; ".join((error.message, *leave(self.machine, self.keepers, self._gone, self._done)))
            # Not what a release would have one do: until recover has run, it is refused.
            raise StepError(told, hint=_RECOVER) from error


def _interrupted(told: str) -> Interrupted:
    return Interrupted(f"interrupted before it served: {told}", hint=_ANEW, undone=True)


def _untold(error: BaseException) -> bool:
    """Whether it is an interrupt that does not say what became of what was done."""
    return isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted)
