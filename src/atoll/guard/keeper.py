"""What keeps one cluster's devices open, in one address space, and does with them what the holder orders.

Each device that has links to be kept cut is watched in a thread of its own. See ``keeper_process`` for where it runs.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from atoll.act.live.holders import VfioLease
from atoll.controls.registry import link_controls
from atoll.errors import AtollError
from atoll.guard.message import MOST_DESCRIPTORS, send
from atoll.guard.prctl import run_at_once
from atoll.guard.watch import Cut, Sight, Watch, elapsed_ns
from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.vfio import AddressSpace, Api, open_space
from atoll.vfio.device import Device
from atoll.vfio.event import Event
from atoll.vfio.handover import export
from atoll.vfio.kernel import Kernel
from atoll.vfio.uapi.irq import IrqIndex

__all__ = ["DEFAULT_INTERVAL", "Keeper", "Pauses"]

DEFAULT_INTERVAL = 250e-6
"""Seconds between two looks at a device."""
_SHARE = 20
"""Looks at one device take at most one part in this many of the time."""
_LONGEST_PAUSE = 0.05
"""Seconds. No reset takes less than twice that (a bus reset or FLR is followed by 100 ms, PCI Express 6.6.1 and 6.6.2),
and a look that begins in one that goes through VFIO returns at its end."""
_FRESH = 0.25
"""Seconds after which a device that was seen as cut counts as not seen."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait between looks."""

    interval: float = DEFAULT_INTERVAL

    def after(self, seconds: float) -> float:
        """Return the pause after a look that took so long: looks that cost more are made less often."""
        return max(self.interval, min(seconds * _SHARE, _LONGEST_PAUSE))


class _HeldBars:
    """An open device's registers, without looking what its owner has switched off."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._region = device.region

    def read32(self, bar: int, offset: int) -> int:
        return self._region(bar).load(offset, 4)

    def write32(self, bar: int, offset: int, value: int) -> None:
        self._region(bar).store(offset, value, 4)

    def decodes(self) -> bool:
        return Command.MEMORY in self._device.command

    def decode(self) -> None:
        self._device.decode(True)


@dataclass(slots=True)
class _Watching:
    watch: Watch
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Keeper:
    """What a keeper does with each order. Not safe for threads, but for the ones that it starts itself."""

    def __init__(
        self, tell: Callable[[Mapping[str, Any]], None], *, kernel: Kernel | None = None, api: Api | None = None
    ) -> None:
        """``tell`` is called, from any thread, with what happens by itself."""
        self._tell = tell
        self._kernel = kernel
        self._api = api
        self._space: AddressSpace | None = None
        self._leases: dict[Address, VfioLease] = {}
        self._watching: dict[Address, _Watching] = {}
        self._requests: dict[Address, Event] = {}
        self._orders: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "open": self._open,
            "read": self._read,
            "glance": self._glance,
            "write": self._write,
            "reset": self._reset,
            "closing": self._closing,
            "close": self._close,
            "watch": self._watch,
            "looks": self._looks,
            "listen": self._listen,
        }

    def obey(self, order: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        """Do what is ordered and return the answer; an error is an answer too, and a defect no end: owners run on what
        is open here, and rely on its being watched."""
        try:
            if order["do"] == "hand":
                return self._hand(order, descriptors)
            return self._orders[order["do"]](order)
        except AtollError as error:
            number = error.errno if isinstance(error, OSError) else None
            return {"error": error.message, "hint": error.hint, "errno": number}
        except OSError as error:
            return {"error": error.strerror or str(error), "hint": "", "errno": error.errno}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}", "hint": "", "errno": errno.EINVAL}

    def close(self) -> None:
        """Stop watching and close everything, the last close of a device resetting it."""
        for address in tuple(self._watching):
            self._rest(address)
        for event in self._requests.values():
            event.close()
        if self._space is not None:
            self._space.close()

    # -- leases

    def _lease(self, order: dict[str, Any]) -> VfioLease:
        return self._leases[Address.parse(order["device"])]

    def _open(self, order: dict[str, Any]) -> dict[str, Any]:
        address = Address.parse(order["device"])
        if self._space is None:
            self._space = open_space(self._api, kernel=self._kernel)
        lease = VfioLease(self._space.open(address))
        try:
            self._hear(lease)
        except BaseException:
            event = self._requests.pop(address, None)
            if event is not None:
                event.close()
            lease.close()
            raise
        self._leases[address] = lease
        return {"resets": lease.reset_on_open}

    def _read(self, order: dict[str, Any]) -> dict[str, Any]:
        return {"value": self._lease(order).read32(order["bar"], order["offset"])}

    def _glance(self, order: dict[str, Any]) -> dict[str, Any]:
        # Switching decoding on and off again for it could undo what the owner writes at the same moment.
        return {"value": _HeldBars(self._lease(order).device).read32(order["bar"], order["offset"])}

    def _write(self, order: dict[str, Any]) -> dict[str, Any]:
        self._lease(order).write32(order["bar"], order["offset"], order["value"])
        return {}

    def _reset(self, order: dict[str, Any]) -> dict[str, Any]:
        self._lease(order).reset()
        return {}

    def _closing(self, order: dict[str, Any]) -> dict[str, Any]:
        return {"resets": self._lease(order).reset_on_close}

    def _close(self, order: dict[str, Any]) -> dict[str, Any]:
        address = Address.parse(order["device"])
        self._rest(address)
        lease, event = self._leases.pop(address, None), self._requests.pop(address, None)
        if event is not None:
            event.close()
        if lease is not None:
            lease.close()
        if not self._leases and self._space is not None:
            space, self._space = self._space, None
            space.close()
        return {}

    # -- what the kernel asks for

    def _hear(self, lease: VfioLease) -> None:
        """Have the kernel say when it wants a device back, be it again: whoever drives the device may have had it say
        so to him instead, which is one and the same setting (``vfio_pci_set_req_trigger``)."""
        interrupt = lease.device.interrupt(IrqIndex.REQ)
        if not interrupt.info.count:
            return
        event = self._requests.get(lease.address)
        if event is None:
            event = self._requests[lease.address] = lease.device.event()
        interrupt.signal([event])

    def _listen(self, order: dict[str, Any]) -> dict[str, Any]:
        for lease in self._leases.values():
            self._hear(lease)
        return {}

    @property
    def requests(self) -> Mapping[Address, Event]:
        """What the kernel signals when it wants a device back, by device."""
        return self._requests

    def relay(self, address: Address) -> None:
        """Tell that the kernel wants a device back. It asks anew every ten seconds (``vfio_unregister_group_dev``)."""
        if self._requests[address].take():
            self._tell({"event": "wanted", "device": str(address)})

    # -- watching

    def _watch(self, order: dict[str, Any]) -> dict[str, Any]:
        lease = self._lease(order)
        control = next(control for control in link_controls() if control.name == order["control"])
        watch = Watch(lease.address, control, frozenset(order["links"]), _HeldBars(lease.device))
        watching = _Watching(watch)
        pauses = Pauses(order["interval"])
        name = f"watch {lease.address}"
        watching.thread = threading.Thread(target=self._keep, args=(watching, pauses), name=name, daemon=True)
        # Where no thread can be had, the one of before watches on; without one nothing is watched, nor shown as if it
        # were.
        watching.thread.start()
        self._rest(lease.address)
        self._watching[lease.address] = watching
        try:
            watch.look()
        finally:
            watching.begun.set()
        return {}

    def _keep(self, watching: _Watching, pauses: Pauses) -> None:
        run_at_once()
        watching.begun.wait()
        watch = watching.watch
        sight = watch.sight
        while True:
            began = time.monotonic()
            cut = watch.look()
            if cut is not None:
                self._tell(_told(cut))
            if watch.sight is not sight:
                sight = watch.sight
                self._tell({"event": "sight", "device": str(watch.device), "sight": sight, "reason": watch.reason})
            if watching.ended.wait(pauses.after(time.monotonic() - began)):
                return

    def _rest(self, address: Address) -> None:
        watching = self._watching.pop(address, None)
        if watching is not None and watching.thread is not None:
            watching.ended.set()
            watching.thread.join()

    def _looks(self, order: dict[str, Any]) -> dict[str, Any]:
        return {"devices": {str(a): _shown(watching.watch) for a, watching in self._watching.items()}}

    # -- handing out

    def _hand(self, order: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Send the address space, with all or some of its devices, to the client whose socket came with the order."""
        if self._space is None:
            return {"error": "nothing is open", "hint": "", "errno": None}
        sent = export(self._space, [Address.parse(device) for device in order["devices"]])
        if len(sent.descriptors) > MOST_DESCRIPTORS:
            told = (
                f"that takes {len(sent.descriptors)} descriptors, and no more than {MOST_DESCRIPTORS} go in a message"
            )
            return {"error": told, "hint": "take its devices one by one, by their addresses", "errno": errno.E2BIG}
        # The same socket as the client's: closing this number of it ends nothing.
        client = socket.socket(fileno=os.dup(descriptors[0]))
        try:
            client.setblocking(False)
            send(client, {**order["reply"], "handover": sent.text}, sent.descriptors)
        finally:
            client.close()
        return {}


def _shown(watch: Watch) -> dict[str, Any]:
    """What a watch saw last. A look that does not return (the device is in reset) makes what was seen a memory."""
    age = (elapsed_ns() - watch.looked) / 1e9
    sight, reason = watch.sight, watch.reason
    if sight is Sight.CUT and age > _FRESH:
        sight, reason = Sight.UNKNOWN, f"it was seen last {age:.1f} s ago: it may be in reset"
    read = watch.registers if sight is Sight.CUT else {}
    return {
        "sight": sight,
        "reason": reason,
        "links": sorted(watch.links),
        "cuts": watch.cuts,
        "looked": watch.looked,
        "registers": [[register.bar, register.offset, value] for register, value in read.items()],
    }


def _told(cut: Cut) -> dict[str, Any]:
    return {
        "event": "cut again",
        "device": str(cut.device),
        "links": list(cut.links),
        "began": cut.began,
        "seen": cut.seen,
        "cut": cut.cut,
        "number": cut.number,
    }
