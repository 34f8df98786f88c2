"""Deaths: what a machine looks like at every write of something that is carried out on it, had it died there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from act_bench import Watched, host_of

from atoll.act.borrowed import borrowed
from atoll.act.journal import Journal, read_journal
from atoll.act.machine import Machine
from atoll.act.owner import Owner, this_process
from atoll.pci.address import Address
from atoll.plan.document import step_to_document
from atoll.plan.spec import read_spec
from atoll.twin import Twin, store

__all__ = [
    "OWN",
    "Death",
    "after",
    "apart",
    "assert_apart",
    "copied",
    "dead_process",
    "dead_run",
    "deaths",
    "left_by",
    "owners_of",
]

OWN = ("var/lib/atoll/", "run/atoll/")


@dataclass(frozen=True, slots=True)
class Death:
    """What is left of a machine after a death."""

    number: int
    """How many writes had been made."""
    what: str
    """The write at which it died."""
    twin: Twin


def copied(twin: Twin) -> Twin:
    """Another twin in the same state."""
    document = store.capture(twin.blueprint, twin.kernel, twin.vfio, twin.own_files)
    other = Twin(twin.blueprint)
    frame = store.Document(document["machine"], document["kernel"], document["links"], document["state"])
    frame.restore(other.kernel, other.vfio, other.own_files)
    return other


def after(died: list[Death], what: str) -> Twin:
    """A copy of the machine that died right after its last write of this kind."""
    return copied([death for death in died if what in death.what][-1].twin)


@contextmanager
def dead_process() -> Iterator[None]:
    """What works meanwhile is taken for a process that has died, afterwards."""
    me = this_process()
    dead = Owner(1 << 30, 1, me.boot, me.namespace)
    with patch("atoll.act.journal.this_process", lambda: dead), patch("atoll.act.lock.this_process", lambda: dead):
        yield


def dead_run(machine: Machine) -> None:
    """Leave a run of a process that has died before it wrote anything."""
    with dead_process(), closing(Journal(machine)) as journal:
        journal.begin("apply")


def owners_of(twin: Twin, spec: str) -> dict[Address, str]:
    """Which cluster each device of a cluster file belongs to."""
    return read_spec(spec, host_of(twin), name="spec").owner()


class Dying(Watched):
    """Keeps what would be left of it, had it died after each of its writes, or within one of its own files'.

    After each write no path may be open between two clusters whose owners both run.
    """

    def __init__(self, twin: Twin, owners: Mapping[Address, str], wanted: Callable[[int], bool]) -> None:
        super().__init__(twin)
        self.owners = owners
        self.wanted = wanted
        self.left: list[Death] = []
        self.count = 0
        self.keep("the beginning")

    def state_path(self, path: str) -> Path | None:
        return None

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path.startswith(OWN) and data and self.wanted(self.count):
            torn = copied(self.twin)
            torn.write(path, data[: len(data) // 2])
            self.left.append(Death(self.count, f"within {path}", torn))
        super().write(path, data, offset=offset)
        if path.startswith(OWN):
            self.keep(path)

    def change(self, what: str, act: Callable[[], object]) -> None:
        super().change(what, act)
        self.keep(what)
        assert_apart(self.twin, self.owners, what)

    def keep(self, what: str) -> None:
        if self.wanted(self.count):
            self.left.append(Death(self.count, f"after {what}", copied(self.twin)))
        self.count += 1


def deaths(
    twin: Twin,
    owners: Mapping[Address, str],
    act: Callable[[Machine], object],
    *,
    wanted: Callable[[int], bool] = lambda number: True,
) -> list[Death]:
    """Carry something out, and return what every death in it would have left."""
    machine = Dying(twin, owners, wanted)
    with dead_process():
        act(machine)
    return machine.left


def left_by(twin: Twin) -> str:
    """Return all that a death left and that anything done afterwards can depend on, as text: the machine, and what its
    journal says. Not which run it was, nor when; of single writes, what those of dead runs had changed for a moment."""
    document = store.capture(twin.blueprint, twin.kernel, twin.vfio, {})["state"]
    del document["next_pid"]
    record = read_journal(twin)
    place = {run.id: number for number, run in enumerate(record.runs)}
    dead = {run.id for run in record.dead}
    runs = [[run.verb, run.id in dead, run.ended is None, run.machine_boot, run.spec, run.plan] for run in record.runs]
    entries = [
        [place[entry.run], entry.state, step_to_document(entry.step), entry.before, entry.after]
        for entry in record.entries
    ]
    changed = [[one.path, one.was.hex()] for one in borrowed(write for write in record.writes if write.run in dead)]
    return json.dumps([document, runs, entries, changed], sort_keys=True, default=str)


def apart(deaths: Iterable[Death], seen: set[str]) -> Iterator[Death]:
    """Yield the deaths of which none of the same was ``seen``, by what they left; for others it suffices that whoever
    opens the journal to work on finds in it what a reader does."""
    for death in deaths:
        left = left_by(death.twin)
        if left not in seen:
            seen.add(left)
            yield death
        elif any(path.startswith(OWN) for path in death.twin.own_files):
            with closing(Journal(death.twin)):
                pass
            assert left_by(death.twin) == left, death.what


def assert_apart(twin: Twin, owners: Mapping[Address, str], when: str) -> None:
    """No path is open between two clusters whose owners both run: they have their devices open and switched on."""
    functions = twin.kernel.hardware.functions
    running = [a for a in owners if a in twin.kernel.open_devices and functions[a].master]
    for one in running:
        for other in running:
            if owners[one] != owners[other]:
                assert not twin.attack(one, other).reached, (when, str(one), str(other))
