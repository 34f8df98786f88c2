"""The journal of a holder: what stays cut, written down before; what had to be cut again, after.

Cutting again waits for no disk. A thread writes it down, one line a device, so that an owner who resets its device for
ever fills nothing.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing, nullcontext
from typing import Any

from atoll.act.database_layout import PATH
from atoll.act.entries import Write
from atoll.act.failure import Failure
from atoll.act.journal import Journal, read_journal
from atoll.act.lock import machine_lock
from atoll.act.machine import Machine
from atoll.act.owner import this_process
from atoll.act.pace import Pace
from atoll.errors import AtollError, InputError, RefusedError
from atoll.pci.address import Address

__all__ = ["Recuts", "intend"]

_LOG = logging.getLogger("atoll.guard")
_SECONDS = 60.0
"""How long another verb may have the journal meanwhile."""


def intend(machine: Machine, links: Mapping[Address, Iterable[int]]) -> None:
    """Write down that links of devices stay cut as long as they are held. Raises as the lock and the journal do."""
    _note(
        machine,
        (
            Write("", f"{address} links", json.dumps(sorted(cut)).encode(), reason="stay cut while it is held")
            for address, cut in links.items()
        ),
    )


def _note(machine: Machine, writes: Iterable[Write]) -> None:
    # A real database has locks of its own: no other verb is kept from its work by a note. A twin's is one value.
    with machine_lock(machine) if machine.state_path(PATH) is None else nullcontext():
        me = this_process()
        # Who reads makes none: it is not this one's to make, nor, without the machine's lock, to take away again.
        mine = (r for r in reversed(read_journal(machine).runs) if r.ended is None and r.owner == me)
        run = next(mine, None)
        if run is None:
            raise InputError("the holder's run is not in the journal", hint="end the holder, run atoll recover")
        # The room that is held on the disk is for giving back: an owner's resets must not use it up.
        with closing(Journal(machine, spends=False)) as journal:
            for write in writes:
                journal.note(run, write)


class Recuts:
    """Writes down what keepers tell, in a thread; a context manager that ends it once all is written."""

    def __init__(self, machine: Machine, pace: Pace | None = None) -> None:
        self._machine = machine
        self._pace = pace or Pace(interval_seconds=0.1)
        self._queue: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recuts", daemon=True)

    def add(self, event: Mapping[str, Any]) -> None:
        """Log that a device was cut again, and have it written down. Returns at once."""
        links = ",".join(map(str, event["links"]))
        microseconds = (event["cut"] - event["seen"]) / 1000
        text = "recut=%s links=%s number=%d microseconds=%.0f reason='a reset opened them'"
        _LOG.warning(text, event["device"], links, event["number"], microseconds)
        self._queue.put(event)

    def _run(self) -> None:
        ended = False
        while not ended:
            event = self._queue.get()
            latest: dict[str, Mapping[str, Any]] = {}
            while True:
                if event is None:
                    ended = True
                else:
                    latest[event["device"]] = event
                if self._queue.empty():
                    break
                event = self._queue.get()
            if latest:
                self._write(latest)

    def _write(self, latest: Mapping[str, Mapping[str, Any]]) -> None:
        writes = [
            Write("", f"{address} recut", json.dumps(event).encode(), reason="a reset opened its links: cut again")
            for address, event in latest.items()
        ]
        failed: list[str] = []

        def written() -> bool:
            try:
                _note(self._machine, writes)
            except (RefusedError, Failure) as error:
                # Another verb is at work: it ends.
                failed[:] = [error.message]
                return False
            except AtollError as error:
                failed[:] = [error.message]
                return True
            failed.clear()
            return True

        self._pace.until(written, seconds=_SECONDS)
        if failed:
            _LOG.error("unwritten=%s error=%r", ",".join(latest), failed[0])

    def __enter__(self) -> Recuts:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._queue.put(None)
        self._thread.join()
