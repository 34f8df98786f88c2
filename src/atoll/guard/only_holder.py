"""One holder a host: its lock, and what the journal says of one whose lock was taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from atoll.act.journal import read_journal
from atoll.act.lock import check_free, process_lock
from atoll.act.machine import Machine
from atoll.act.owner import Owner, is_alive, this_process
from atoll.errors import RefusedError

__all__ = ["the_only_holder"]

_LOCK = "run/atoll/hold.lock"


@contextmanager
def the_only_holder(machine: Machine, *, dry_run: bool = False) -> Iterator[None]:
    """Be the only holder of a machine, for as long as this lasts; with ``dry_run`` only look. Raises RefusedError where
    another one runs."""
    path = machine.state_path(_LOCK)
    assert path is not None, "a holder's machine has real files"

    def taken(other: Owner | None) -> RefusedError:
        end = "atoll hold --stop" if other is None else f"atoll hold --stop, or kill {other.pid}"
        hint = f"one holder a host: end it ({end}), and name all clusters in one file"
        return RefusedError(f"a holder runs on {machine.name}: {other or 'an unknown process'}", hint=hint)

    if dry_run:
        check_free(path, taken)
        _check_noted(machine, taken)
        yield
        return
    with process_lock(path, taken):
        _check_noted(machine, taken)
        yield


def _check_noted(machine: Machine, taken: Callable[[Owner | None], RefusedError]) -> None:
    """Raise what ``taken`` makes of a holder that the journal tells of and that runs: its lock was taken away."""
    me = this_process()
    for run in read_journal(machine).runs:
        is_mine = run.owner == me or run.owner.namespace != me.namespace
        if run.verb == "hold" and run.ended is None and not is_mine and is_alive(run.owner):
            raise taken(run.owner)
