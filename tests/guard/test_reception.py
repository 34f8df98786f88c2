"""Those who ask, as far as a whole holder shows it only now and then."""

from __future__ import annotations

import selectors
import socket
from unittest.mock import Mock

from guard_bench import Bench

from atoll.guard.desk import Asker
from atoll.guard.keeping import Order
from atoll.guard.reception import Reception


def test_who_was_let_go_is_not_listened_to_once_a_keeper_has_answered() -> None:
    """What he was told by itself found no room, after the keeper had handed over, and before that was looked at."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        Bench() as bench,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        theirs,
        selectors.DefaultSelector() as selector,
    ):
        reception = Reception(listener, selector, bench.keepers, who=lambda _: (1, 1001), clock=lambda: 0.0)
        order = Order(0.0, "", done=True)
        asker = Asker(ours, 1, 1001, 1001, handing=order)
        reception._waiting.append((asker, order, "'red'"))
        ours.close()
        reception.settle(Mock())
        assert asker.handing is None
        assert not selector.get_map()
