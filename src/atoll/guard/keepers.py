"""The holder's side of its keepers: a process a cluster, whose open devices are leases like any other.

It satisfies :class:`atoll.act.live.machine.VfioLeases`, so that the same executor opens, cuts and closes through it.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from atoll.act.pace import Pace
from atoll.act.uninterrupted import deferred
from atoll.controls.link_control import LinkControl
from atoll.guard.keeper_process import run_keeper
from atoll.guard.message import Malformed, receive, send
from atoll.pci.address import Address
from atoll.vfio.errors import VfioError

__all__ = ["LOOK_PATIENCE", "PATIENCE", "Keepers", "Keeping", "KeptLease", "start_keeper"]

PATIENCE = 300.0
"""Seconds that an order may take: the kernel resets a device within it, and closes several, each with a reset."""
LOOK_PATIENCE = 10.0
"""Seconds that an order to tell what was seen may take: whoever asks the holder waits for it."""
_NOT_SENT = (errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)
"""Why nothing of a message was sent whose receiver may run on (unix(7)): it is too long, there is no memory for it, or
others have too many descriptors on their way (for who has no CAP_SYS_RESOURCE)."""
_STEP = 1.0
"""Seconds after which ``waiting`` is called, again and again."""


@dataclass(slots=True)
class Keeping:
    """A keeper, as its holder has it."""

    holder: str
    """Its process's name."""
    pid: int
    """0 for one that is no process of its own (in tests)."""
    orders: socket.socket
    events: socket.socket
    leases: dict[Address, KeptLease] = field(default_factory=dict)
    ended: bool = False
    unanswered: int = 0
    """Orders whose answers did not come in time. It is given no other before these have come: until then all that it
    has open stays open, and watched."""
    waiting: Callable[[], None] | None = None
    """Called as long as an answer is waited for: a reset may take longer than a service manager waits for a sign."""

    def order(
        self, what: str, device: Address | None = None, *descriptors: int, patience: float = PATIENCE, **details: Any
    ) -> dict[str, Any]:
        """Give an order and return the answer. VfioError where it fails or could not be given, or the keeper has ended;
        with ETIMEDOUT where it does not answer, for ``patience`` seconds.

        An interrupt is raised only once there is an answer: the next order must not take it for its own.
        """
        document = {"do": what, **details}
        if device is not None:
            document["device"] = str(device)
        try:
            with deferred():
                self._catch_up()
                send(self.orders, document, descriptors)
                self.unanswered += 1
                self._wait(patience)
                answer = self._receive()
        except TimeoutError as error:
            text = f"{self.holder} does not answer: {error}"
            raise VfioError(text, hint="what it has open stays so", number=errno.ETIMEDOUT) from None
        except (OSError, Malformed) as error:
            if isinstance(error, OSError) and error.errno in _NOT_SENT:
                text = f"{self.holder} could not be told to {what}: {error.strerror}"
                raise VfioError(text, hint="what it has open stays so", number=error.errno) from error
            self.ended = True
            raise self._gone() from error
        if answer is None:
            self.ended = True
            raise self._gone()
        if "error" in answer:
            raise VfioError(answer["error"], hint=answer["hint"], number=answer["errno"])
        return answer

    def _receive(self) -> dict[str, Any] | None:
        answer, sent = receive(self.orders)
        for descriptor in sent:
            os.close(descriptor)
        self.unanswered -= 1
        return answer

    def _catch_up(self) -> None:
        """Take the answers to earlier orders that came late. TimeoutError where one has not come yet."""
        waiting = select.poll()
        waiting.register(self.orders, select.POLLIN)
        while self.unanswered:
            if not waiting.poll(0):
                raise TimeoutError("an earlier order is not done yet")
            if self._receive() is None:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def _wait(self, seconds: float) -> None:
        """Wait until there is an answer, or an end. TimeoutError where there is none."""
        waiting = select.poll()
        waiting.register(self.orders, select.POLLIN)
        for _ in range(max(1, int(seconds / _STEP))):
            if waiting.poll(min(_STEP, seconds) * 1000):
                return
            if self.waiting is not None:
                self.waiting()
        raise TimeoutError(f"nothing for {seconds:g} s")

    def _gone(self) -> VfioError:
        return VfioError(f"the process {self.holder} ({self.pid}) has ended", hint="see its log", number=errno.EPIPE)

    def alive(self) -> bool:
        """Whether its process runs."""
        if self.pid and self._reaped():
            self.ended = True
        return not self.ended

    def end(self) -> None:
        """Let it end, which closes what it has open, and wait for that, though not for ever, and once."""
        told = self.orders.fileno() < 0
        self.ended = True
        self.orders.close()
        self.events.close()
        if self.pid and not told:
            Pace().until(self._reaped, seconds=PATIENCE)

    def _reaped(self) -> bool:
        try:
            done, _ = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            done = self.pid
        if done:
            self.pid = 0
        return bool(done)


class KeptLease:
    """A device that a keeper has open."""

    def __init__(self, keeping: Keeping, address: Address, *, resets: bool) -> None:
        self._keeping = keeping
        self._address = address
        self._resets = resets

    @property
    def address(self) -> Address:
        """The device."""
        return self._address

    @property
    def reset_on_open(self) -> bool:
        """Whether granting it reset the device."""
        return self._resets

    @property
    def reset_on_close(self) -> bool:
        """Whether closing it will reset the device."""
        return bool(self._keeping.order("closing", self._address)["resets"])

    def read32(self, bar: int, offset: int) -> int:
        """Load 32 bits. VfioError."""
        return int(self._keeping.order("read", self._address, bar=bar, offset=offset)["value"])

    def glance(self, bar: int, offset: int) -> int:
        """Load 32 bits, beside an owner who may drive the device: it is left as it is, also where he has memory
        decoding off. VfioError (EIO then)."""
        return int(self._keeping.order("glance", self._address, bar=bar, offset=offset)["value"])

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits. VfioError."""
        self._keeping.order("write", self._address, bar=bar, offset=offset, value=value)

    def reset(self) -> None:
        """Reset the device. VfioError."""
        self._keeping.order("reset", self._address)

    def close(self) -> None:
        """Close it, no longer watched; the second time does nothing."""
        if self._address in self._keeping.leases:
            self._keeping.order("close", self._address)
            del self._keeping.leases[self._address]

    def watch(self, control: LinkControl, links: Iterable[int], *, interval: float) -> None:
        """Have links of it kept cut from now on, looked at every ``interval`` seconds."""
        self._keeping.order("watch", self._address, control=control.name, links=sorted(links), interval=interval)


def start_keeper(holder: str) -> Keeping:
    """Start a keeper's process."""
    with ExitStack() as undo:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        for end in (end for pair in pairs for end in pair):
            undo.callback(end.close)
        (orders, theirs), (events, told) = pairs
        parent = os.getpid()
        # No end comes while it is not yet ready for one.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        try:
            child = os.fork()
            if not child:
                try:
                    run_keeper(theirs, told, holder, parent)
                finally:
                    os._exit(0)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        undo.pop_all()
    theirs.close()
    told.close()
    orders.settimeout(PATIENCE)
    events.setblocking(False)
    return Keeping(holder, child, orders, events)


class Keepers:
    """The keepers of one holder; a context manager that ends them."""

    def __init__(self, start: Callable[[str], Keeping] = start_keeper) -> None:
        self._start = start
        self._keeping: dict[str, Keeping] = {}

    @property
    def by_holder(self) -> Mapping[str, Keeping]:
        """All that were started, by their names."""
        return self._keeping

    @property
    def pids(self) -> frozenset[int]:
        """The processes of those that run."""
        return frozenset(keeping.pid for keeping in self._keeping.values() if keeping.pid)

    def lease(self, address: Address, *, holder: str) -> KeptLease:
        """Open a device for a holder, or return its lease. VfioError."""
        keeping = self._keeping.get(holder)
        if keeping is None:
            keeping = self._keeping[holder] = self._start(holder)
        if address not in keeping.leases:
            resets = keeping.order("open", address)["resets"]
            keeping.leases[address] = KeptLease(keeping, address, resets=bool(resets))
        return keeping.leases[address]

    def close(self) -> None:
        """End all of them, which closes what they have open."""
        for keeping in self._keeping.values():
            keeping.end()

    def __enter__(self) -> Keepers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
