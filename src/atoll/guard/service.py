"""The holder's loop: those who ask, keepers that tell, a service manager that waits, and the end.

Nothing here waits for who asks, nor until the host is read, and devices are watched by other processes. A keeper may be
waited for as long as it is for a look (``LOOK_PATIENCE``), and once: until it answers, it is told that it does not.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from atoll.guard.departures import Departures
from atoll.guard.desk import Asker, Desk
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import Keeping
from atoll.guard.message import Malformed, receive
from atoll.guard.notify import Notifier
from atoll.guard.owners import Tenant, peer
from atoll.guard.proving import Proving
from atoll.guard.reception import Reception
from atoll.guard.recuts import Recuts
from atoll.pci.address import Address

__all__ = ["Service"]

_LOG = logging.getLogger("atoll.guard")
_LOOK_SECONDS = 0.5
"""How often it is looked who is left, while it ends; and whether keepers run."""


class Service:
    """Serves until it is stopped and no owner is left, or their time is over; a context manager that lets all go."""

    def __init__(
        self,
        listener: socket.socket,
        keepers: Keepers,
        recuts: Recuts,
        notifier: Notifier,
        departures: Departures,
        proving: Proving,
        left: Callable[[], Sequence[Tenant]],
        *,
        grace: float,
        who: Callable[[socket.socket], tuple[int, int]] = peer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``left`` tells which owners still have something open; ``grace``: how long they are waited for, seconds."""
        self._listener = listener
        self._keepers = keepers
        self._recuts = recuts
        self._notifier = notifier
        self._departures = departures
        self._proving = proving
        self._left = left
        self._grace = grace
        self._clock = clock
        self._deadline: float | None = None
        self._told = False
        self._selector = selectors.DefaultSelector()
        self._reception = Reception(listener, self._selector, keepers, who=who, clock=clock)
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)

    def stop(self) -> float:
        """Begin the end; the second time, wait for nobody. Returns for how many seconds owners are waited for."""
        now = self._clock()
        self._deadline = now + self._grace if self._deadline is None else now
        with suppress(OSError):
            self._wake.send(b"\0")
        return max(0.0, self._deadline - now)

    def run(self, desk: Desk) -> tuple[Tenant, ...]:
        """Serve; return the owners that are left at the end."""
        self._listener.setblocking(False)
        selector = self._selector
        self._reception.accept_more(desk)
        selector.register(self._woken, selectors.EVENT_READ, self._drain)
        selector.register(self._proving, selectors.EVENT_READ, self._proving.go_on)
        for keeping in self._keepers.by_holder.values():
            selector.register(keeping.events, selectors.EVENT_READ, partial(self._hear, desk, keeping))
            selector.register(keeping.orders, selectors.EVENT_READ, partial(self._take_answers, keeping))
            keeping.waiting = self._notifier.alive
        looked = self._clock()
        while True:
            for key, _ in selector.select(self._pause()):
                if isinstance(key.data, Asker):
                    self._reception.serve(desk, key.data)
                else:
                    key.data()
            self._reception.settle(desk)
            now = self._clock()
            if self._deadline is None and now - looked < self._pause():
                continue
            looked = now
            self._notifier.alive()
            self._reception.accept_more(desk)
            self._check_keepers()
            self._settle(desk)
            if self._deadline is not None:
                self._say_ending(desk)
                left = self._owners()
                if not left or now >= self._deadline:
                    return left

    def _pause(self) -> float:
        wanted = self._notifier.interval_seconds
        return _LOOK_SECONDS if wanted is None else min(_LOOK_SECONDS, wanted)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *error: object) -> None:
        self._reception.close()
        self._selector.close()
        for end in (self._woken, self._wake):
            end.close()

    def _drain(self) -> None:
        with suppress(OSError):
            self._woken.recv(4096)

    # -- keepers

    def _take_answers(self, keeping: Keeping) -> None:
        if not keeping.hear():
            self._selector.unregister(keeping.orders)

    def _hear(self, desk: Desk, keeping: Keeping) -> None:
        try:
            event, _ = receive(keeping.events)
        except (BlockingIOError, Malformed):
            return
        except OSError:
            event = None
        if event is None:
            self._selector.unregister(keeping.events)
            keeping.alive()
            _LOG.error("lost=%s reason='its process ended: its devices are closed'", keeping.holder)
            self._notifier.status(f"{keeping.holder} ended by itself: its devices are not held")
        elif event["event"] == "cut again":
            self._recuts.add(event)
        elif event["event"] == "wanted":
            self._wanted(desk, keeping, Address.parse(event["device"]))
        else:
            level = logging.INFO if event["sight"] == "cut" else logging.WARNING
            _LOG.log(level, "sight=%s device=%s reason=%r", event["sight"], event["device"], event["reason"])

    def _wanted(self, desk: Desk, keeping: Keeping, address: Address) -> None:
        """The kernel wants a device back: its owner is told, and it is let go once no owner has it open."""
        if self._departures.ask(address, keeping):
            _LOG.warning("wanted=%s by='the kernel' reason='it is pulled, or its driver is taken off'", address)
            cluster = desk.cluster_of(address)
            for asker in self._reception.askers:
                if cluster in asker.taken:
                    self._reception.reply(asker, {"tell": "wanted", "device": str(address)})
        self._settle(desk)

    def _settle(self, desk: Desk) -> None:
        self._reception.settle(desk)
        for address in self._departures.settle(lambda address: self._reception.handed(desk.cluster_of(address))):
            self._notifier.status(f"{address} is not held any more: the kernel wanted it back")

    def _check_keepers(self) -> None:
        for keeping in self._keepers.by_holder.values():
            keeping.alive()

    # -- the end

    def _owners(self) -> tuple[Tenant, ...]:
        """Return which owners are left; where that is not seen, somebody may be."""
        # Looked for first: what is received from then on is seen in a process.
        handed = self._reception.handed()
        try:
            found = tuple(self._left())
        except OSError as failed:
            found = (Tenant(0, f"not seen: {failed.strerror or failed}", certain=False),)
        return (*found, *handed)

    def _say_ending(self, desk: Desk) -> None:
        if self._told:
            return
        self._told = desk.ending = True
        assert self._deadline is not None
        seconds = max(0.0, self._deadline - self._clock())
        _LOG.info("ending seconds=%.0f", seconds)
        self._notifier.stopping(seconds + 60)
        for asker in self._reception.askers:
            self._reception.reply(asker, {"tell": "ending", "seconds": seconds})
