"""Who asks a holder: accepted, as many of each user as may be, answered one request after another, and let go.

Nothing here waits for anybody: what does not read its answers is let go, and what strangers sent is closed by others.
Who is handed something waits for the keeper that does it, who asks for a proof until the host is read, and nobody else
with him.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from atoll.guard.desk import Asker, Desk, error
from atoll.guard.discard import Discard
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import Order
from atoll.guard.message import Malformed, printed, receive, send
from atoll.guard.owners import Tenant
from atoll.plan.possession import holder_name
from atoll.vfio.errors import VfioError

__all__ = ["Reception"]

_LOG = logging.getLogger("atoll.guard")
_MOST_OF_A_USER = 32
"""Connections of root, of each owner, and of all others together."""
_MOST_CLOSING = 128
"""Connections that do not let themselves be closed: then no more are accepted."""
_NEWS_SECONDS = 60.0
"""For so long no further refusal is told of root, of one owner, or of all others together, but where all is told."""


class Reception:
    """Those who are connected."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        keepers: Keepers,
        *,
        who: Callable[[socket.socket], tuple[int, int]],
        clock: Callable[[], float],
    ) -> None:
        """``who`` tells process and user at the other end; ``selector`` gets each asker, and what else to call."""
        self._listener = listener
        self._selector = selector
        self._keepers = keepers
        self._who = who
        self._clock = clock
        self._askers: dict[int, Asker] = {}
        self._waiting: list[tuple[Asker, Order, str]] = []
        """Who waits for a keeper, or for a proof, and what it was asked of."""
        self._leaving: list[Asker] = []
        """Who is let go, and may still receive what was handed to it."""
        self._discard = Discard()
        self._refused: dict[int | None, float] = {}
        """When it was told last that one of these users was refused something."""
        self._accepting = False

    @property
    def askers(self) -> tuple[Asker, ...]:
        """All who may ask."""
        return tuple(self._askers.values())

    def close(self) -> None:
        """Let all go."""
        for asker in self.askers:
            self._let_go(asker)
        self._discard.close(None, *(asker.connection for asker in self._leaving))

    def accept_more(self, desk: Desk) -> None:
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
            self.accept_more(desk)
            return
        asker = Asker(connection, pid, uid, whose)
        if self._listens_to(connection, asker):
            self._askers[connection.fileno()] = asker
        else:
            self._discard.close(whose, connection)

    def serve(self, desk: Desk, asker: Asker) -> None:
        """Take one request of a client; the next one when it is its turn again, and that one is answered."""
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
            self.reply(asker, error(str(malformed), 'a request is a JSON object: {"ask": "state"}'))
            return
        except OSError:
            self._let_go(asker)
            return
        if descriptors:
            self._discard.close(sent, *descriptors)
            self.reply(asker, error("nobody hands anything to the holder", "send no descriptors"))
            self._let_go(asker)
            return
        if request is None:
            self._let_go(asker)
            return
        what, of = printed(request.get("ask")), printed(request.get("of", ""))
        answer = desk.answer(request, asker)
        order = asker.handing or asker.proving
        if answer is None and order is not None:
            self._selector.unregister(asker.connection)
            self._waiting.append((asker, order, of))
            return
        if answer is not None:
            self.reply(asker, answer)
        self._log(asker, what, of, granted=answer is None or bool(answer.get("ok")))

    def settle(self, desk: Desk) -> None:
        """Answer who waits and need not any more, and close connections from which all was received."""
        waiting, self._waiting = self._waiting, []
        for asker, order, of in waiting:
            if not order.done:
                self._waiting.append((asker, order, of))
                continue
            proves = order is asker.proving
            asker.handing = asker.proving = None
            self._log(asker, "'proof'" if proves else "'take'", of, granted=order.error is None)
            if asker not in self.askers:
                # Let go meanwhile, and closed by now perhaps.
                continue
            if not self._listens_to(asker.connection, asker):
                self._let_go(asker)
            elif order.error is not None:
                self.reply(asker, error(order.error.message, order.error.hint))
            elif proves:
                self.reply(asker, desk.proof(order.answer, asker))
        leaving, self._leaving = self._leaving, []
        for asker in leaving:
            self._leave(asker)

    def _log(self, asker: Asker, what: str, of: str, *, granted: bool) -> None:
        level = logging.INFO if granted or not self._is_news(asker.whose) else logging.WARNING
        _LOG.log(level, "ask=%s of=%s uid=%d pid=%d granted=%s", what, of, asker.uid, asker.pid, granted)

    def _is_news(self, whose: int | None) -> bool:
        """Whether it is a while that one of these users was refused something: nobody fills the log by asking."""
        now, last = self._clock(), self._refused.get(whose)
        if last is not None and now - last < _NEWS_SECONDS:
            return False
        self._refused[whose] = now
        return True

    def reply(self, asker: Asker, answer: Mapping[str, object]) -> None:
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
        # Who waits for a keeper is not listened to meanwhile.
        with suppress(KeyError):
            self._selector.unregister(asker.connection)
        self._leave(asker)
        for cluster in asker.taken:
            keeping = self._keepers.by_holder.get(holder_name(cluster))
            if keeping is not None and not keeping.ended:
                # It may have had the kernel ask him, and not us, for devices.
                with suppress(VfioError):
                    keeping.begin("listen")

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

    def handed(self, cluster: str | None = None) -> tuple[Tenant, ...]:
        """Return who has not received yet what was handed to it, of one cluster or of any."""
        return tuple(
            Tenant(asker.pid, f"of user {asker.uid}, who has not read yet what it was handed", certain=False)
            for asker in self._known()
            if (cluster in asker.on_its_way() if cluster is not None else asker.on_its_way())
        )
