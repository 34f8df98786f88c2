"""Giving devices back, step by step, in the order that opens nothing between tenants.

Tenants gone, bus mastering off everywhere first, then leases closed (which resets), drivers off, links open again,
ports as before, functions regrouped by that, and last the drivers of before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from atoll.act import device
from atoll.act.below import is_above
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.outcome import Deed
from atoll.act.ports_given_back import PortsGivenBack
from atoll.act.regrouped import keep_moved
from atoll.act.settings import changed, put_back
from atoll.act.shared_links import stays_cut
from atoll.act.site import State, Value
from atoll.act.steps.drivers import restore, set_override, unbind
from atoll.act.steps.leases import close
from atoll.act.steps.quiesce import master_off
from atoll.act.steps.resets import restore_cut
from atoll.errors import StepError
from atoll.isolation.clusters import Cluster
from atoll.pci.address import Address
from atoll.plan.possession import holder_name
from atoll.plan.step import Step, StepKind

__all__ = ["GivingBack"]

_CLOSING_SECONDS = 5.0
_ALL_STAYS = "all else stays as it is"
_KEEPS = "it keeps the group that it has"
_ENDED = "end whoever was handed it, then run atoll recover, or atoll release again"


@dataclass(slots=True, kw_only=True)
class GivingBack(PortsGivenBack):
    """A whole release, from whoever has the devices to the drivers of before."""

    held: Mapping[Address, Cluster]
    shared: Mapping[Address, Step]
    relied_on: str = ""
    """Why nothing is written back that resets have closed; empty: it is."""

    def run(self) -> None:
        """Give everything back: first whatever could let a device act is taken from it, last the drivers come back."""
        self.note_held()
        self.note_drivers()
        devices = [a for a in self.was if not self.site.host.functions[a].is_port]
        self.silence(devices)
        self.open_links(devices)
        later = self.regrouped_later(self.closed | self.ports_above(self.unmoved))
        closed = self.ports_that_stay(later)
        # What is below a port that stays closed is wanted once more, to be found again in its group of before.
        wanted = {a for a in self.was if any(is_above(self.site.host, a, port) for port in closed)}
        closed |= self.ports_above(later | self.unmoved)
        self.restore_ports(closed)
        self.regroup([a for a in self.was if a not in wanted | later | closed])
        for address in devices:
            relied_on = self.relied_on or (_KEEPS if address in wanted | later else "")
            why = self.put_back(address, opens=not relied_on) or relied_on
            self.give_back(address)
            if address in self.failed:
                continue
            self.compare(address, why)
            if address not in self.vanished and address not in wanted:
                if address in later:
                    self.kept.update(keep_moved(self.work.journal, address))
                self.forget(address)
        if self.failed:
            raise self.half_way(*self.failed.values())

    def note_held(self) -> None:
        """Put into the journal what is held and not in it: once closed, nothing else would tell that it is to be given
        back."""
        known = {entry.step.device for entry in self.work.journal.entries}
        for address, cluster in self.held.items():
            if address not in known:
                holder = holder_name(cluster.name)
                words = ("none", "none", "close it")
                step = Step("r1", StepKind.LEASE, address, "found held", *words, cluster=cluster.name, holder=holder)
                self.work.journal.intend(step, {"fingerprint": self.site.fingerprints[address], "held": 0})

    def note_drivers(self) -> None:
        """Put into the journal which driver a device has that was changed otherwise only: it is taken off for a while,
        and the same, or none, is what it gets back."""
        machine, journal = self.site.machine, self.work.journal
        leased = {entry.step.device for entry in journal.entries if entry.step.kind is StepKind.LEASE}
        for address, before in self.was.items():
            if before.driver_known or address in leased or self.site.host.functions[address].is_port:
                continue
            try:
                before.driver, before.override = device.driver(machine, address), device.override(machine, address)
            except Failure:
                if self.there(address):
                    raise
                continue
            before.driver_known = True
            words = ("none", "none", "bind it again")
            step = Step("r2", StepKind.UNBIND, address, "its driver is as before", *words)
            state: State = {"driver": before.driver, "override": before.override}
            journal.intend(step, {"fingerprint": self.site.fingerprints[address], **state})

    def silence(self, devices: Iterable[Address]) -> None:
        """Take off drivers and bus mastering, and then close what is held: a closed device may lose its cuts."""
        machine = self.site.machine
        for address in devices:
            if address not in self.held:
                self.unbind(address)
            self.attempt("quiesce", address, partial(master_off, machine, address), "bus mastering off")
        for address, cluster in self.held.items():
            holder = holder_name(cluster.name)
            self.attempt("close", address, partial(close, machine, address, holder), f"closed for {holder}")
            self.check_closed(address, cluster)
            self.unbind(address)

    def check_closed(self, address: Address, cluster: Cluster) -> None:
        """Raise StepError, before others lose their cuts, where somebody else has it open still, or again."""
        machine = self.site.machine
        if self.site.pace.until(lambda: not device.unseen(machine, address), seconds=_CLOSING_SECONDS):
            try:
                other = device.other(machine, address, cluster.name)
            except Failure as error:
                raise StepError(f"{error.message}: {_ALL_STAYS}", hint=error.hint or "run as root") from error
            if other is None:
                return
            told = device.in_use(address, other)
        else:
            told = f"{address} was closed by its holder, and is open still, in no process that is seen"
        # Its driver is not taken off: the kernel would wait for him, and keep everybody else from changing anything.
        raise StepError(f"{told}: {_ALL_STAYS}", hint=_ENDED)

    def unbind(self, address: Address) -> None:
        """Take the driver off, and let no override keep another from it."""
        driver = device.driver(self.site.machine, address)
        if driver is not None:
            self.attempt("unbind", address, partial(unbind, self.site.machine, address), f"unbind {driver}")
        if self.overridden(address):
            clear = partial(set_override, self.site.machine, address, None)
            self.attempt("unbind", address, clear, "driver_override cleared")

    def overridden(self, address: Address) -> bool:
        """Whether an override names the driver of a device that is there still."""
        try:
            return device.override(self.site.machine, address) is not None
        except Failure:
            if self.there(address):
                raise
            return False

    def open_links(self, devices: Iterable[Address]) -> None:
        """Open what was not cut before, but for what a neighbour's owner needs cut."""
        for address in devices:
            if self.was[address].cut is not None:
                told = "links as before" + (", but for those that stay cut" if address in self.shared else "")
                self.attempt("open-links", address, partial(self.reopen, address), told)

    def reopen(self, address: Address) -> None:
        """Cut what was cut before, and what a neighbour's owner needs cut; open all else."""
        was = self.was[address].cut
        step = self.shared.get(address)
        if step is not None and isinstance(was, list):
            self.keep(step, was)
            was = [*was, *(link for link in step.links if link not in was)]
            self.left.append(stays_cut(step))
        rest = restore_cut(self.site, address, was, None)
        if rest:
            self.left.append(rest)

    def keep(self, step: Step, was: Value) -> None:
        """Put into the journal what stays cut of a device that is given back, as is what was cut of the host's own: it
        is opened with the last cluster."""
        journal = self.work.journal
        of_the_host = [
            entry.number
            for entry in journal.entries
            if entry.step.device == step.device and entry.step.kind is step.kind and entry.step.cluster == step.cluster
        ]
        if not of_the_host:
            state: State = {"fingerprint": self.site.fingerprints[step.device], "cut": was}
            of_the_host = [journal.intend(step, state).number]
        self.kept.update(of_the_host)

    def put_back(self, address: Address, *, opens: bool) -> str:
        """Write back what resets have changed that no step did, before its driver has it; return why that failed."""
        machine, was = self.site.machine, self.was[address].settings
        told = ", ".join(dict.fromkeys(changed(machine, address, was, opens=opens)))
        if address in self.vanished or not told:
            return ""
        with self.work.machine.during(None, f"to give {address} back: {told}"):
            why = put_back(machine, address, was, opens=opens)
        if not why:
            self.deeds.append(Deed("put-back", address, f"{told} as before"))
        return why

    def give_back(self, address: Address) -> None:
        """Bind the driver of before; where the journal does not tell, let the kernel choose."""
        if not self.there(address):
            return
        machine, before = self.site.machine, self.was[address]
        if before.driver_known:
            told = f"bind {before.driver}" if before.driver else "left without a driver, as before"
            state: State = {"driver": before.driver, "override": before.override, "enabled": before.enabled}
            self.attempt("bind", address, partial(restore, machine, address, state), told, last=True)
            return
        if device.driver(machine, address) is None:
            told = "given to the driver of the kernel's choice"
            self.attempt("bind", address, partial(_probe, machine, address), told, last=True)
        if address in self.failed or not self.there(address):
            return
        self.left.append(f"no journal tells which driver had {address}: it has {device.driver(machine, address)} now")


def _probe(machine: Machine, address: Address) -> None:
    device.write(machine, "sys/bus/pci/drivers_probe", str(address))
