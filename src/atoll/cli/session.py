"""From ``--host`` to what a verb works on: a tree, the host that it shows, the machine where it can be changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from atoll.errors import InputError, RefusedError
from atoll.host.extent import Extent
from atoll.host.model import Host
from atoll.host.tree import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from atoll.act.live.machine import VfioLeases
    from atoll.act.machine import Machine
    from atoll.host.records.content import Record
    from atoll.twin import Twin

__all__ = ["Session", "changing", "changing_twin", "is_twin_file", "load_twin", "new_twin", "open_session", "save_twin"]

TWIN_SCHEMA = "atoll.twin/"


class Session(NamedTuple):
    """What ``--host`` named."""

    tree: Tree
    host: Host
    machine: Machine | None = None
    """None for a record: it can be read, not changed."""
    twin: Twin | None = None
    path: Path | None = None
    """The twin's file; None for a throw-away twin."""
    texts: tuple[Record, ...] = ()
    """Files and pasted texts among the records: they do not change."""

    @property
    def is_live(self) -> bool:
        """Whether this is the running machine."""
        return self.tree.name == "live" and self.twin is None and not self.texts

    @property
    def witness(self) -> Machine | None:
        """The machine whose journal tells who was given what; None for a record."""
        if self.machine is None and self.is_live:
            from atoll.act.live import LiveMachine

            return LiveMachine()
        return self.machine

    def reread(self) -> Host:
        """Return the host as it is now."""
        return _together(self.tree, self.texts)

    def save(self) -> None:
        """Keep what was done to a twin that lives in a file."""
        if self.twin is not None and self.path is not None:
            save_twin(self.twin, self.path)


def open_session(names: Sequence[str], *, extent: Extent = Extent.ALL) -> Session:
    """Open what ``--host`` named: one machine, or several records of one. Raises InputError, OSError."""
    if len(names) == 1:
        return _open_one(names[0], extent)
    for name in names:
        if name.startswith("twin:") or is_twin_file(name):
            raise InputError(f"{name} is a twin, and several --host name records of one machine", hint="name it alone")
    return _open_records(names, extent)


def _open_records(names: Sequence[str], extent: Extent) -> Session:
    """Open trees and pasted texts, and merge what they show."""
    from atoll.host.open import open_named
    from atoll.host.records.content import Record
    from atoll.host.records.programs.sosreport import read_sosreport

    opened = [open_named(name) for name in names]
    trees = tuple(found for found in opened if not isinstance(found, Record))
    texts = tuple(found for found in opened if isinstance(found, Record))
    texts += tuple(text for tree in trees for text in read_sosreport(tree))
    tree: Tree
    if len(trees) == 1:
        tree = trees[0]
    else:
        from atoll.cli.overlay import Overlay

        # Of texts alone there is no file to look at: an overlay of nothing.
        tree = Overlay(trees)
    return Session(tree, _together(tree, texts, extent), texts=texts)


def _together(tree: Tree, texts: tuple[Record, ...], extent: Extent = Extent.ALL) -> Host:
    from atoll.cli.overlay import Overlay

    if not texts:
        return _read(tree, extent)
    from atoll.host.links.interconnect import driver_uuids
    from atoll.host.together import read_together

    nothing = isinstance(tree, Overlay) and not tree.trees
    read = None if nothing else _read(tree, extent)
    return read_together(texts, read=read, uuids=driver_uuids(tree))


@contextmanager
def changing(
    names: Sequence[str], *, dry_run: bool = False, hold: bool = False, vfio: VfioLeases | None = None
) -> Iterator[Session]:
    """Open what ``--host`` named to change it, and keep what became of it, be it a failure that was rolled back.

    A twin's file is locked from before it is read until after it is written, the live machine likewise unless with
    ``dry_run``, which writes neither. ``hold``: this process stays, may keep devices of the live machine open, through
    ``vfio`` where that is given, and takes the lock itself for as long as it changes something. SIGTERM and SIGHUP
    interrupt it as SIGINT does. Raises RefusedError for what can be read only, InputError, OSError.
    """
    from atoll.cli.interrupts import interruptible

    with interruptible(), _changing(names, dry_run=dry_run, hold=hold, vfio=vfio) as session:
        yield session


@contextmanager
def _changing(names: Sequence[str], *, dry_run: bool, hold: bool, vfio: VfioLeases | None) -> Iterator[Session]:
    if len(names) == 1 and is_twin_file(names[0]):
        from pathlib import Path

        from atoll.act.lock import file_lock

        # A link is resolved once: what is written goes where it was read, and the link stays.
        name = os.path.realpath(names[0])
        with file_lock(Path(name)):
            session = open_session([name])
            try:
                yield session
            finally:
                if not dry_run:
                    session.save()
        return
    if list(names) == ["live"]:
        with _live(hold, vfio, lock=not (hold or dry_run)) as session:
            yield session
        return
    session = open_session(names)
    if session.machine is None:
        raise RefusedError(
            f"{session.host.name} is a record: it is read, not changed",
            hint="--host live (the default) changes this machine, --host FILE of a twin a simulated one",
        )
    yield session


@contextmanager
def _live(hold: bool, vfio: VfioLeases | None, *, lock: bool) -> Iterator[Session]:
    """Open the running machine to change it. Raises RefusedError, before it is read, where it cannot be changed, or
    another changes it."""
    from contextlib import nullcontext

    from atoll.act.capability import require
    from atoll.act.live import LiveMachine
    from atoll.act.live.namespace import check_shared
    from atoll.act.lock import machine_lock

    machine = LiveMachine(hold=hold, vfio=vfio)
    require(machine, ("attributes",))
    check_shared()
    with machine_lock(machine) if lock else nullcontext():
        yield Session(machine, _read(machine), machine)


@contextmanager
def changing_twin(path: Path) -> Iterator[Twin]:
    """Load a twin's file to change it, and save it unless something went wrong. Raises InputError, OSError."""
    from pathlib import Path

    from atoll.act.lock import file_lock

    path = Path(os.path.realpath(path))
    with file_lock(path):
        twin = load_twin(path)
        yield twin
        save_twin(twin, path)


def _open_one(name: str, extent: Extent) -> Session:
    if name.startswith("twin:"):
        twin_name, _, kernel = name.removeprefix("twin:").partition(":")
        twin = new_twin(twin_name, kernel=kernel or None)
        return Session(twin, _read(twin, extent), twin, twin)
    if is_twin_file(name):
        from pathlib import Path

        path = Path(name)
        twin = load_twin(path)
        return Session(twin, _read(twin, extent), twin, twin, path)
    return _open_records([name], extent)


def _read(tree: Tree, extent: Extent = Extent.ALL) -> Host:
    from atoll.cli.overlay import Overlay, read_each
    from atoll.controls.registry import registers
    from atoll.host import read_host

    def read(tree: Tree) -> Host:
        return read_host(tree, registers=registers, extent=extent)

    return read_each(tree, read) if isinstance(tree, Overlay) else read(tree)


def is_twin_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a twin's: a JSON object whose schema stands first."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            head = file.read(200).split()
    except OSError:
        return False
    start = b"".join(head)
    return start.startswith(b"{") and b'"schema":"' + TWIN_SCHEMA.encode() in start


@contextmanager
def _twin_errors() -> Iterator[None]:
    from atoll.twin import TwinError

    try:
        yield
    except TwinError as error:
        raise InputError(error.message, hint=error.hint) from error


def new_twin(name: str, *, kernel: str | None = None, links: bool = True) -> Twin:
    """Make a twin. Raises InputError for a machine or a kernel that there is not."""
    from atoll.twin import Twin

    with _twin_errors():
        return Twin.new(name, kernel=kernel, links=links)


def load_twin(path: Path) -> Twin:
    """Read a twin's file. Raises InputError for one that is damaged or no twin, OSError for one that is not there."""
    from atoll.twin import Twin

    try:
        with _twin_errors():
            return Twin.load(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a twin's file: {error}", hint="make one: atoll twin new NAME FILE") from error


def save_twin(twin: Twin, path: Path) -> None:
    """Write a twin's file. Raises OSError."""
    try:
        with _twin_errors():
            twin.save(path)
    except OSError as error:
        # It is written beside its place first, under a name that nobody gave.
        raise OSError(error.errno, error.strerror, str(path)) from error
