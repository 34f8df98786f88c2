"""What a holder proves for those who ask: the host is read anew and looked at in a thread, and others are answered
meanwhile.

Keepers get their orders from the holder's loop alone: between reading the host and proving it, that asks them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from atoll.errors import AtollError
from atoll.fabric.answer import Policy
from atoll.guard.defects import Defects
from atoll.guard.keeping import Order
from atoll.guard.notify import Notifier
from atoll.guard.watch import elapsed_ns, slept_ns
from atoll.host.model import Host
from atoll.isolation.moment import Statement
from atoll.isolation.proof import Proof, Verdict

__all__ = ["Proving", "told"]

_TOLD_SECONDS = 1.0
"""Reading a host takes a while, and may be asked for by several."""
_READING_SECONDS = 180.0
"""How long it may take: a program that hangs in its driver is waited for, and a device whose lock the kernel holds."""
_SLEPT_NS = 100_000_000
"""A host that slept for longer while it was read is read once more, and then not known: what was read is a memory."""
_PAIRS = 3
"""How many pairs that are not, or not known to be, isolated are told."""


class Proving:
    """Proofs, one at a time; a context manager that waits for the one under way. Not safe for threads, but for its own.

    Whoever waits for ``fileno`` calls ``go_on`` then.
    """

    def __init__(
        self,
        read: Callable[[], Host],
        look: Callable[[Host], Host],
        state: Callable[[Host], Mapping[str, Any]],
        notifier: Notifier,
        *,
        seconds: float = _TOLD_SECONDS,
    ) -> None:
        """``read`` reads the host and ``state`` says what is so, both in a thread; ``look`` adds what keepers tell. A
        proof is told again for so many seconds since its reading began."""
        self._read = read
        self._look = look
        self._state = state
        self._notifier = notifier
        self._again_ns = int(seconds * 1e9)
        self._defects = Defects()
        self._order: Order | None = None
        """The last one."""
        self._later: Order | None = None
        """The one that begins once that is done."""
        self._at = ""
        """When the last one's reading began: what happened since it need not have seen."""
        self._until = 0
        """Until when it is told again, as ``elapsed_ns`` counts."""
        self._slept = 0
        self._tries = 0
        self._next: Callable[[Any], None] = self._looked
        self._found: Any = None
        self._thread = threading.Thread(name="proof")
        self._told, self._tell = socket.socketpair()
        for end in (self._told, self._tell):
            end.setblocking(False)

    def fileno(self) -> int:
        """Readable once there is something to go on with."""
        return self._told.fileno()

    def ask(self) -> Order:
        """Return a proof, whose ``answer`` comes: one whose reading began a second ago at most, or begins now, or
        once the one under way is done. That may have read before what whoever asks has done since."""
        if self._order is not None and elapsed_ns() < self._until:
            return self._order
        asked = self._later or Order(time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds"))
        if self._order is not None and not self._order.done:
            self._later = asked
        else:
            self._prove(asked)
        return asked

    def go_on(self) -> None:
        """Take what the thread has found, and go on."""
        with suppress(BlockingIOError):
            self._told.recv(4096)
        if self._thread.ident is not None:
            self._thread.join()
        found = self._found
        try:
            if isinstance(found, Exception):
                raise found
            self._next(found)
        except AtollError as error:
            self._end(_unknown(error.message))
        except OSError as error:
            self._end(_unknown(f"the host cannot be read: {error.strerror or error}"))
        except Exception as defect:
            assert self._order is not None
            self._order.error = self._defects.tell(defect, "'proof'")
            self._end({})

    def _prove(self, order: Order) -> None:
        self._order, self._tries = order, 0
        self._begin()

    def _begin(self) -> None:
        self._at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._until = elapsed_ns() + self._again_ns
        self._slept = slept_ns()
        self._tries += 1
        self._start(self._looked, self._read)

    def _looked(self, host: Host) -> None:
        self._start(self._stated, self._state, self._look(host))

    def _stated(self, found: Mapping[str, Any]) -> None:
        if slept_ns() - self._slept <= _SLEPT_NS:
            self._end(found)
        elif self._tries == 1:
            self._begin()
        else:
            self._end(_unknown("the host slept while it was read"))

    def _end(self, found: Mapping[str, Any]) -> None:
        assert self._order is not None
        self._order.answer = {**found, "at": self._at}
        self._order.done = True
        later, self._later = self._later, None
        if later is not None:
            self._prove(later)

    def _start(self, then: Callable[[Any], None], work: Callable[..., Any], *arguments: Any) -> None:
        self._next = then
        self._thread = threading.Thread(target=self._run, args=(work, *arguments), name="proof", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # Where no thread can be had, others wait.
            self._run(work, *arguments)

    def _run(self, work: Callable[..., Any], *arguments: Any) -> None:
        try:
            self._found = work(*arguments)
        except Exception as error:
            self._found = error
        with suppress(OSError):
            self._tell.send(b"\0")

    def __enter__(self) -> Proving:
        return self

    def __exit__(self, *error: object) -> None:
        # Nothing is read while all is given back; but for what the kernel does not return from.
        if self._thread.ident is not None:
            with self._notifier.waiting(_READING_SECONDS):
                self._thread.join(_READING_SECONDS)
        for end in (self._told, self._tell):
            end.close()


def told(found: Statement, policy: Policy) -> dict[str, Any]:
    """Return a statement as those who ask get it."""
    return {
        "verdict": found.verdict.value,
        "handed_over": found.handed_over.verdict.value,
        "moment": found.moment,
        "policy": policy.value,
        "reasons": list(dict.fromkeys((*_why(found.proof), *_why(found.handed_over)))),
        "assumptions": [a.id for a in (*found.proof.assumptions, *found.once_handed_over)],
    }


def _why(proof: Proof) -> Iterator[str]:
    """Yield what keeps it from being proven: sentences, of pairs the first."""
    yield from proof.reasons
    for pair in (*proof.violations, *proof.unknown)[:_PAIRS]:
        because = f": {pair.path[-1].because}" if pair.path else ""
        yield f"{pair.source} ({pair.source_cluster}), {pair.target} ({pair.target_cluster}){because}"


def _unknown(reason: str) -> dict[str, Any]:
    """Return what is told where nothing could be read, or said: that proves nothing."""
    verdict = Verdict.UNKNOWN.value
    return {"verdict": verdict, "handed_over": verdict, "moment": "now", "reasons": [reason], "assumptions": []}
