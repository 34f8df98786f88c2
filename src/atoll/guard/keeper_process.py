"""The process that keeps one cluster's devices open: one cluster, one process, one address space.

So whoever looks at the host sees by the open files of processes which devices share an address space. It obeys the
orders of the holder's process, which come over a socket; when the holder ends, it ends.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from atoll.guard.keeper import Keeper
from atoll.guard.message import Malformed, receive, send
from atoll.guard.prctl import die_with_parent, take_name

__all__ = ["run_keeper", "serve"]


def serve(orders: socket.socket, keeper: Keeper) -> None:
    """Obey orders until whoever sends them ends, and relay what the kernel asks for."""
    while True:
        requests = {event.fileno(): address for address, event in keeper.requests.items()}
        waiting = select.poll()
        for number in (orders.fileno(), *requests):
            waiting.register(number, select.POLLIN)
        ready = {number for number, _ in waiting.poll()}
        for number in ready & requests.keys():
            keeper.relay(requests[number])
        if orders.fileno() not in ready:
            continue
        try:
            order, descriptors = receive(orders)
        except Malformed as error:
            send(orders, {"error": str(error), "hint": "", "errno": None})
            continue
        if order is None:
            return
        try:
            _answer(orders, keeper.obey(order, descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _answer(orders: socket.socket, answer: dict[str, Any]) -> None:
    """Send an answer, or that it is too long for one message."""
    try:
        send(orders, answer)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        send(orders, {"error": error.strerror, "hint": "", "errno": error.errno})


def run_keeper(orders: socket.socket, events: socket.socket, name: str, parent: int) -> None:
    """Be a keeper: called in a process of its own, which ends with this. What it inherited is closed first."""
    # Nothing inherited is finalized: its numbers of descriptors are closed, and will be others'.
    gc.freeze()
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # These are for the holder, which gives back in the right order; from a terminal they reach all.
        signal.signal(ignored, signal.SIG_IGN)
    # A terminal that stops the holder (Ctrl-Z) does not stop the watching: owners run on.
    os.setsid()
    signal.set_wakeup_fd(-1)
    _close_all_but(orders.fileno(), events.fileno())
    take_name(name)
    die_with_parent(parent)
    events.setblocking(False)

    def tell(event: Mapping[str, Any]) -> None:
        # Where nobody reads them they are lost; the counts stay.
        with suppress(OSError):
            send(events, event)

    keeper = Keeper(tell)
    try:
        # Where the holder ends while it is being answered, that fails.
        with suppress(OSError):
            serve(orders, keeper)
    finally:
        keeper.close()


def _close_all_but(*kept: int) -> None:
    start = 3
    for number in sorted(kept):
        os.closerange(start, number)
        start = number + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
