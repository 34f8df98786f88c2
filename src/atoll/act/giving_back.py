"""Giving devices back, step by step, in the order that opens nothing between tenants.

Tenants gone, bus mastering off everywhere first, then leases closed (which resets), drivers off, links open again,
ports as before, functions regrouped by that, and last the drivers of before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from atoll.act import device
from atoll.act.before import Before
from atoll.act.below import is_above
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.outcome import Deed
from atoll.act.regrouped import keep_moved, keeps_its_group
from atoll.act.running import Running
from atoll.act.settings import Difference, changed, differences, put_back
from atoll.act.shared_links import stays_cut
from atoll.act.site import Site, State, Value
from atoll.act.steps.drivers import restore, set_override, unbind
from atoll.act.steps.leases import close
from atoll.act.steps.ports import power_control, read_control, restore_power, set_control
from atoll.act.steps.quiesce import master_off
from atoll.act.steps.regroup import check_free, found_apart, regroup
from atoll.act.steps.resets import restore_cut
from atoll.errors import StepError
from atoll.isolation.clusters import Cluster
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.possession import holder_name
from atoll.plan.step import Step, StepKind

__all__ = ["GivingBack"]

_CLOSING_SECONDS = 5.0
_ALL_STAYS = "all else stays as it is"
_KEEPS = "it keeps the group that it has"
_ENDED = "end whoever was handed it, then run atoll recover, or atoll release again"


@dataclass(slots=True)
class GivingBack:
    """One release being carried out: of each device what is owed, what was done, and what is left."""

    site: Site
    work: Running
    was: Mapping[Address, Before]
    held: Mapping[Address, Cluster]
    shared: Mapping[Address, Step]
    deeds: list[Deed] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    vanished: set[Address] = field(default_factory=set)
    """Devices that were pulled while this went on."""
    relied_on: str = ""
    """Why nothing is written back that resets have closed; empty: it is."""
    closed: frozenset[Address] = frozenset()
    """Ports that stay as they are set: others are below them."""
    unmoved: frozenset[Address] = frozenset()
    """Functions that others have, or the host needs, which keep the groups in which they were found again."""
    differences: list[Difference] = field(default_factory=list)
    """What stands otherwise than before once all is given back."""
    kept: set[int] = field(default_factory=set)
    """Entries, by number, of what is cut still once its device is given back."""

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
            self.compare(address, why)
            if address not in self.vanished and address not in wanted:
                if address in later:
                    self.kept.update(keep_moved(self.work.journal, address))
                self.forget(address)

    def open_links(self, devices: Iterable[Address]) -> None:
        """Open what was not cut before, but for what a neighbour's owner needs cut."""
        for address in devices:
            if self.was[address].cut is not None:
                told = "links as before" + (", but for those that stay cut" if address in self.shared else "")
                self.attempt("open-links", address, partial(self.reopen, address), told)

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

    def there(self, address: Address) -> bool:
        """Whether a device is there still: one that was pulled meanwhile keeps nobody from getting the others back."""
        if address not in self.vanished and not device.present(self.site.machine, address):
            self.vanished.add(address)
            self.left.append(f"{address} has vanished meanwhile: it is not given back")
        return address not in self.vanished

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

    def forget(self, address: Address) -> None:
        journal = self.work.journal
        mine = (entry for entry in journal.entries if entry.step.device == address)
        journal.forget(entry for entry in mine if entry.number not in self.kept)

    def unbind(self, address: Address) -> None:
        """Take the driver off, and let no override keep another from it."""
        driver = device.driver(self.site.machine, address)
        if driver is not None:
            self.attempt("unbind", address, partial(unbind, self.site.machine, address), f"unbind {driver}")
        if self.overridden(address):
            clear = partial(set_override, self.site.machine, address, None)
            self.attempt("unbind", address, clear, "driver_override cleared")

    def overridden(self, address: Address) -> bool:
        try:
            return device.override(self.site.machine, address) is not None
        except Failure:
            if self.there(address):
                raise
            return False

    def attempt(self, kind: str, address: Address, act: Callable[[], object], told: str) -> None:
        if address in self.vanished:
            return
        try:
            with self.work.machine.during(None, f"to give {address} back: {told}"):
                act()
        except (Failure, OSError) as error:
            # What this itself removed, to have it regrouped, is to be found again.
            if kind != "regroup" and not self.there(address):
                return
            done = ", ".join(f"{deed.kind} {deed.device}" for deed in self.deeds) or "nothing"
            raise StepError(
                f"{kind} of {address} failed: {error}. Done before: {done}",
                hint="what was given back stays so; run atoll release again once the reason is gone",
            ) from error
        self.deeds.append(Deed(kind, address, told))

    def reopen(self, address: Address) -> None:
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

    def restore_acs(self, address: Address, control: AcsFlag) -> None:
        machine = self.site.machine
        try:
            as_before = read_control(machine, address) == control
        except Failure:
            # That is found again, and told, by who writes it.
            as_before = False
        if not as_before:
            self.attempt("set-acs", address, partial(set_control, machine, address, control), f"ACS {control.lspci}")

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

    def compare(self, address: Address, why: str = "") -> None:
        """Tell what stands otherwise than before, now that a function is given back."""
        if address not in self.vanished:
            found = list(differences(self.site.machine, address, self.was[address].settings, why))
            self.differences += found
            self.left += map(str, found)

    def give_back(self, address: Address) -> None:
        """Bind the driver of before; where the journal does not tell, let the kernel choose."""
        if not self.there(address):
            return
        machine, before = self.site.machine, self.was[address]
        if before.driver_known:
            told = f"bind {before.driver}" if before.driver else "left without a driver, as before"
            state: State = {"driver": before.driver, "override": before.override, "enabled": before.enabled}
            self.attempt("bind", address, partial(restore, machine, address, state), told)
            return
        if device.driver(machine, address) is None:
            self.attempt(
                "bind", address, partial(_probe, machine, address), "given to the driver of the kernel's choice"
            )
        if not self.there(address):
            return
        self.left.append(f"no journal tells which driver had {address}: it has {device.driver(machine, address)} now")


def _probe(machine: Machine, address: Address) -> None:
    device.write(machine, "sys/bus/pci/drivers_probe", str(address))
