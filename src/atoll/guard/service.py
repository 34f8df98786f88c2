"""The holder's loop: those who ask, keepers that tell, a service manager that waits, and the end.

Nothing here waits for anybody: what does not read its answers is let go, and devices are watched by other processes.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from atoll.guard.departures import Departures
from atoll.guard.desk import Asker, Desk, error
from atoll.guard.discard import Discard
from atoll.guard.keepers import Keepers, Keeping
from atoll.guard.message import Malformed, printed, receive, send
from atoll.guard.notify import Notifier
from atoll.guard.owners import Tenant, peer
from atoll.guard.recuts import Recuts
from atoll.pci.address import Address
from atoll.plan.possession import holder_name
from atoll.vfio.errors import VfioError

__all__ = ["Service"]

_LOG = logging.getLogger("atoll.guard")
_MOST_OF_A_USER = 32
"""Connections of root, of each owner, and of all others together."""
_MOST_CLOSING = 128
"""Connections that do not let themselves be closed: then no more are accepted."""
_NEWS_SECONDS = 60.0
"""For so long no further refusal is told of root, of one owner, or of all others together, but where all is told."""
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
        self._left = left
        self._grace = grace
        self._who = who
        self._clock = clock
        self._deadline: float | None = None
        self._told = False
        self._selector = selectors.DefaultSelector()
        self._askers: dict[int, Asker] = {}
        self._leaving: list[Asker] = []
        """Who is let go, and may still receive what was handed to it."""
        self._discard = Discard()
        self._refused: dict[int | None, float] = {}
        """When it was told last that one of these users was refused something."""
        self._accepting = False
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
        self._accept_more(desk)
        selector.register(self._woken, selectors.EVENT_READ, self._drain)
        for keeping in self._keepers.by_holder.values():
            selector.register(keeping.events, selectors.EVENT_READ, partial(self._hear, desk, keeping))
            keeping.waiting = self._notifier.alive
        looked = self._clock()
        while True:
            for key, _ in selector.select(self._pause()):
                if isinstance(key.data, Asker):
                    self._serve(desk, key.data)
                else:
                    key.data()
            now = self._clock()
            if self._deadline is None and now - looked < self._pause():
                continue
            looked = now
            self._notifier.alive()
            self._accept_more(desk)
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
        for asker in tuple(self._askers.values()):
            self._let_go(asker)
        self._discard.close(None, *(asker.connection for asker in self._leaving))
        self._selector.close()
        for end in (self._woken, self._wake):
            end.close()

    # -- those who ask

    def _accept_more(self, desk: Desk) -> None:
        """Accept, unless too many connections are still being closed."""
        wanted = len(self._discard.under_way()) < _MOST_CLOSING
        if wanted and not self._accepting:
            self._accepting = self._listens_to(self._listener, partial(self._accept, desk))
        elif self._accepting and not wanted:
            self._selector.unregister(self._listener)
            self._accepting = False

    def _listens_to(self, connection: socket.socket, data: object) -> bool:
        """Wait for what comes there too; return whether that is to be had (epoll_ctl(2))."""
        try:
            self._selector.register(connection, selectors.EVENT_READ, data)
        except OSError:
            return False
        return True

    def _accept(self, desk: Desk) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # It waits on, and would be tried again at once.
            self._selector.unregister(self._listener)
            self._accepting = False
            return
        try:
            connection.setblocking(False)
            pid, uid = self._who(connection)
        except OSError:
            connection.close()
            return
        whose = uid if desk.knows(uid) else None
        counted = [asker.whose for asker in self._known()] + self._discard.under_way()
        if counted.count(whose) >= _MOST_OF_A_USER:
            with suppress(OSError):
                send(connection, error("too many are connected", "close what is not used"))
            self._discard.close(whose, connection)
            self._accept_more(desk)
            return
        asker = Asker(connection, pid, uid, whose)
        if self._listens_to(connection, asker):
            self._askers[connection.fileno()] = asker
        else:
            self._discard.close(whose, connection)

    def _serve(self, desk: Desk, asker: Asker) -> None:
        """Take one request of a client; the next one when it is its turn again."""
        if self._askers.get(asker.connection.fileno()) is not asker:
            # Let go since it was known to be ready.
            return
        sent = ("sent", asker.whose)
        if sent in self._discard.under_way():
            # So nobody makes it have more open than one message brings.
            self._let_go(asker)
            return
        try:
            request, descriptors = receive(asker.connection, lambda found: self._discard.close(sent, *found))
        except BlockingIOError:
            return
        except Malformed as malformed:
            self._reply(asker, error(str(malformed), 'a request is a JSON object: {"ask": "state"}'))
            return
        except OSError:
            self._let_go(asker)
            return
        if descriptors:
            self._discard.close(sent, *descriptors)
            self._reply(asker, error("nobody hands anything to the holder", "send no descriptors"))
            self._let_go(asker)
            return
        if request is None:
            self._let_go(asker)
            return
        answer = desk.answer(request, asker)
        if answer is not None:
            self._reply(asker, answer)
        what, of = printed(request.get("ask")), printed(request.get("of", ""))
        granted = answer is None or bool(answer.get("ok"))
        level = logging.INFO if granted or not self._is_news(asker.whose) else logging.WARNING
        _LOG.log(level, "ask=%s of=%s uid=%d pid=%d granted=%s", what, of, asker.uid, asker.pid, granted)

    def _is_news(self, whose: int | None) -> bool:
        """Whether it is a while that one of these users was refused something: nobody fills the log by asking."""
        now, last = self._clock(), self._refused.get(whose)
        if last is not None and now - last < _NEWS_SECONDS:
            return False
        self._refused[whose] = now
        return True

    def _reply(self, asker: Asker, answer: Mapping[str, object]) -> None:
        asker.on_its_way()
        try:
            try:
                send(asker.connection, answer)
            except OSError as failed:
                if failed.errno != errno.EMSGSIZE:
                    raise
                send(asker.connection, error(str(failed.strerror), "more clusters than one holder can tell of"))
        except OSError:
            # It does not read, or is gone.
            self._let_go(asker)

    def _let_go(self, asker: Asker) -> None:
        if self._askers.pop(asker.connection.fileno(), None) is None:
            return
        self._selector.unregister(asker.connection)
        self._leave(asker)
        for cluster in asker.taken:
            keeping = self._keepers.by_holder.get(holder_name(cluster))
            if keeping is not None and not keeping.ended:
                # It may have had the kernel ask him, and not us, for devices.
                with suppress(VfioError):
                    keeping.order("listen")

    def _leave(self, asker: Asker) -> None:
        """Close a connection; not before what was handed over it is received, or gone with the other end."""
        if asker.on_its_way():
            with suppress(OSError):
                asker.connection.shutdown(socket.SHUT_RDWR)
            self._leaving.append(asker)
        else:
            self._discard.close(asker.whose, asker.connection)

    def _known(self) -> tuple[Asker, ...]:
        return (*self._askers.values(), *self._leaving)

    def _drain(self) -> None:
        with suppress(OSError):
            self._woken.recv(4096)

    # -- keepers

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
            for asker in tuple(self._askers.values()):
                if cluster in asker.taken:
                    self._reply(asker, {"tell": "wanted", "device": str(address)})
        self._settle(desk)

    def _settle(self, desk: Desk) -> None:
        leaving, self._leaving = self._leaving, []
        for asker in leaving:
            self._leave(asker)
        for address in self._departures.settle(lambda address: self._handed(desk.cluster_of(address))):
            self._notifier.status(f"{address} is not held any more: the kernel wanted it back")

    def _check_keepers(self) -> None:
        for keeping in self._keepers.by_holder.values():
            keeping.alive()

    def _handed(self, cluster: str | None = None) -> tuple[Tenant, ...]:
        """Return who has not received yet what was handed to it, of one cluster or of any."""
        return tuple(
            Tenant(asker.pid, f"of user {asker.uid}, who has not read yet what it was handed", certain=False)
            for asker in self._known()
            if (cluster in asker.on_its_way() if cluster is not None else asker.on_its_way())
        )

    # -- the end

    def _owners(self) -> tuple[Tenant, ...]:
        """Return which owners are left; where that is not seen, somebody may be."""
        # Looked for first: what is received from then on is seen in a process.
        handed = self._handed()
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
        for asker in tuple(self._askers.values()):
            self._reply(asker, {"tell": "ending", "seconds": seconds})
