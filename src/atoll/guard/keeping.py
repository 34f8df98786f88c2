"""One keeper as its holder has it: the orders that it is given, and their answers, which come in the same order."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from atoll.act.pace import Pace
from atoll.act.uninterrupted import deferred
from atoll.controls.link_control import LinkControl
from atoll.errors import AtollError
from atoll.guard.message import Malformed, receive, send
from atoll.pci.address import Address
from atoll.vfio.errors import VfioError

__all__ = ["LOOK_PATIENCE", "PATIENCE", "Keeping", "KeptLease", "Order"]

PATIENCE = 300.0
"""Seconds that an order may take: the kernel resets a device within it, and closes several, each with a reset."""
LOOK_PATIENCE = 10.0
"""Seconds that an order to tell what was seen may take: whoever asks the holder waits for it."""
_NOT_SENT = (errno.EAGAIN, errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)
"""Why nothing of a message was sent whose receiver may run on (unix(7)): too many wait to be received, it is too long,
there is no memory for it, or others have too many descriptors on their way (for who has no CAP_SYS_RESOURCE)."""
_STEP = 1.0
"""Seconds after which ``waiting`` is called, again and again."""


@dataclass(slots=True)
class Order:
    """An order that was given, or a proof that was asked for."""

    given: float
    """When, by the monotonic clock."""
    at: str
    """When, for people."""
    done: bool = False
    """Whether its answer has come, or none comes any more."""
    answer: dict[str, Any] = field(default_factory=dict)
    error: AtollError | None = None
    """Why it was not done."""


@dataclass(slots=True)
class Keeping:
    """A keeper, as its holder has it."""

    holder: str
    """Its process's name."""
    pid: int
    """0 for one that is no process of its own (in tests)."""
    orders: socket.socket
    """Neither is waited for."""
    events: socket.socket
    leases: dict[Address, KeptLease] = field(default_factory=dict)
    ended: bool = False
    under_way: deque[Order] = field(default_factory=deque)
    """Orders whose answers have not come. Whoever waits for another one's waits for these, as long as that may take:
    until then all that it has open stays open, and watched."""
    waiting: Callable[[], None] | None = None
    """Called as long as an answer is waited for: a reset may take longer than a service manager waits for a sign."""

    def order(
        self, what: str, device: Address | None = None, *descriptors: int, patience: float = PATIENCE, **details: Any
    ) -> dict[str, Any]:
        """Give an order and return the answer. VfioError where it fails or could not be given, or the keeper has ended;
        with ETIMEDOUT where it does not answer, for ``patience`` seconds.

        An interrupt is raised only once there is an answer: the next order must not take it for its own.
        """
        with deferred():
            self._catch_up(patience)
            order = self._give(what, device, descriptors, details)
            self._catch_up(patience)
        if order.error is not None:
            raise order.error
        return order.answer

    def begin(self, what: str, device: Address | None = None, *descriptors: int, **details: Any) -> Order:
        """Give an order without waiting for it; ``hear`` takes the answer. VfioError where it could not be given."""
        with deferred():
            return self._give(what, device, descriptors, details)

    def hear(self) -> bool:
        """Take the answers that have come; return whether its process runs, as far as that shows."""
        while self._comes(0.0):
            self._receive()
        return not self.ended

    def _give(self, what: str, device: Address | None, descriptors: tuple[int, ...], details: dict[str, Any]) -> Order:
        document = {"do": what, **details}
        if device is not None:
            document["device"] = str(device)
        if self.ended:
            raise self._gone()
        try:
            send(self.orders, document, descriptors)
        except OSError as error:
            if error.errno in _NOT_SENT:
                text = f"{self.holder} could not be told to {what}: {error.strerror}"
                raise VfioError(text, hint="what it has open stays so", number=error.errno) from error
            self._lose()
            raise self._gone() from error
        order = Order(time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds"))
        self.under_way.append(order)
        return order

    def _catch_up(self, patience: float) -> None:
        """Take the answers to all orders. VfioError (ETIMEDOUT) where one has not come ``patience`` after it was given,
        (EPIPE) where the keeper has ended."""
        while self.under_way:
            oldest = self.under_way[0]
            if not self._comes(oldest.given + patience - time.monotonic()):
                text = f"{self.holder} does not answer since {oldest.at}"
                raise VfioError(text, hint="what it has open stays so", number=errno.ETIMEDOUT)
            self._receive()
        if self.ended:
            raise self._gone()

    def _comes(self, seconds: float) -> bool:
        """Wait until there is an answer, or an end; return whether there is."""
        if self.ended:
            return False
        end = time.monotonic() + seconds
        waiting = select.poll()
        waiting.register(self.orders, select.POLLIN)
        while not waiting.poll(max(0.0, min(_STEP, end - time.monotonic())) * 1000):
            if time.monotonic() >= end:
                return False
            if self.waiting is not None:
                self.waiting()
        return True

    def _receive(self) -> None:
        try:
            answer, sent = receive(self.orders)
        except (OSError, Malformed):
            answer, sent = None, ()
        for descriptor in sent:
            os.close(descriptor)
        if answer is None:
            self._lose()
        elif self.under_way:
            order = self.under_way.popleft()
            order.done, order.answer = True, answer
            if "error" in answer:
                order.error = VfioError(answer["error"], hint=answer["hint"], number=answer["errno"])

    def _lose(self) -> None:
        """It has ended: no more answers come."""
        self.ended = True
        while self.under_way:
            order = self.under_way.popleft()
            order.done, order.error = True, self._gone()

    def _gone(self) -> VfioError:
        which = f"{self.holder} ({self.pid})" if self.pid else self.holder
        return VfioError(f"the process {which} has ended", hint="see its log", number=errno.EPIPE)

    def alive(self) -> bool:
        """Whether its process runs."""
        if self.pid and self._reaped():
            self._lose()
        return not self.ended

    def end(self) -> None:
        """Let it end, which closes what it has open, and wait for that, though not for ever, and once."""
        told = self.orders.fileno() < 0
        self._lose()
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

    def glance(self, bar: int, offset: int, *, patience: float = PATIENCE) -> int:
        """Load 32 bits, beside an owner who may drive the device: it is left as it is, also where he has memory
        decoding off. VfioError (EIO then), as ``Keeping.order`` raises it."""
        answer = self._keeping.order("glance", self._address, patience=patience, bar=bar, offset=offset)
        return int(answer["value"])

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits. VfioError."""
        self._keeping.order("write", self._address, bar=bar, offset=offset, value=value)

    def reset(self) -> None:
        """Reset the device. VfioError."""
        self._keeping.order("reset", self._address)

    def close(self, *, patience: float = PATIENCE) -> None:
        """Close it, no longer watched; the second time does nothing. VfioError, as ``Keeping.order`` raises it."""
        if self._address in self._keeping.leases:
            self._keeping.order("close", self._address, patience=patience)
            del self._keeping.leases[self._address]

    def watch(self, control: LinkControl, links: Iterable[int], *, interval: float, patience: float = PATIENCE) -> None:
        """Have links of it kept cut from now on, looked at every ``interval`` seconds. VfioError, as ``Keeping.order``
        raises it."""
        details = {"control": control.name, "links": sorted(links), "interval": interval}
        self._keeping.order("watch", self._address, patience=patience, **details)
