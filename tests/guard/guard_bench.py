"""A held V100 as its keeper sees it, and keepers that are threads of the test."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.guard.keeper import Keeper
from atoll.guard.keeper_process import serve
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import Keeping
from atoll.guard.message import send
from atoll.twin import v100

__all__ = ["BLUE", "RED", "RED2", "STOLEN", "Bench", "HeldGpu"]

RED, RED2, BLUE = address("01:00.0"), address("02:00.0"), address("03:00.0")


@dataclass
class HeldGpu:
    """A V100 behind VFIO: its registers, and what its owner can do to them."""

    registers: dict[int, int] = field(default_factory=dict)
    decoding: bool = True
    silent: bool = False
    """In reset, or gone: reads as all ones."""
    stores: int = 0
    loads: int = 0

    def read32(self, bar: int, offset: int) -> int:
        self._answer(bar)
        self.loads += 1
        return 0xFFFFFFFF if self.silent else v100.read(self.registers, offset)

    def write32(self, bar: int, offset: int, value: int) -> None:
        self._answer(bar)
        self.stores += 1
        if not self.silent:
            v100.write(self.registers, offset, value)

    def decodes(self) -> bool:
        return self.decoding

    def decode(self) -> None:
        self.decoding = True

    def reset(self) -> None:
        self.registers.clear()

    @property
    def cut(self) -> frozenset[int]:
        return frozenset(n for n in range(v100.LINKS) if v100.cut_links(self.registers) >> n & 1)

    def _answer(self, bar: int) -> None:
        assert bar == 0
        if not self.decoding:
            raise OSError(errno.EIO, "Input/output error")


STOLEN = b"a descriptor"


class _Keeper(Keeper):
    """A keeper whose descriptors are the model's: what it hands out is the end of a pipe instead."""

    slow: Mapping[str, threading.Event]

    def _hand(self, order: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        if (goes_on := self.slow.get(order["reply"]["cluster"])) is not None:
            assert goes_on.wait(20)
        end, other = os.pipe()
        os.write(other, STOLEN)
        os.close(other)
        client = socket.socket(fileno=os.dup(descriptors[0]))
        client.setblocking(False)
        try:
            send(client, {**order["reply"], "handover": "as the model gives it"}, [end])
        finally:
            client.close()
            os.close(end)
        return {}


@dataclass(repr=False)
class _Gpu(FakeDevice):
    """A device that is a V100 as far as its name goes; its mask takes whatever is written."""

    memory: bytearray = field(default_factory=lambda: bytearray(0xA01000))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.memory[:4] = v100.BOOT_VALUE.to_bytes(4, "little")

    def lose(self, why: str) -> None:
        super().lose(why)
        self.memory[:4] = v100.BOOT_VALUE.to_bytes(4, "little")


class Bench:
    """A machine of three V100s, each in a group of its own, and keepers for them."""

    def __init__(self) -> None:
        devices: list[FakeDevice] = [_Gpu(a, n, bus=n) for n, a in enumerate((RED, RED2, BLUE), start=5)]
        self.kernel = FakeKernel(FakeMachine(devices))
        self.keepers = Keepers(self.start)
        self.threads: list[threading.Thread] = []
        self.slow: dict[str, threading.Event] = {}
        """Clusters whose keeper hands nothing over before something has come."""

    def start(self, holder: str) -> Keeping:
        orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        events, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keeper = _Keeper(lambda event: send(told, event), kernel=self.kernel)
        keeper.slow = self.slow

        def run() -> None:
            with theirs, told:
                # As in a process of its own: who gave an order may be gone before it is answered.
                with suppress(OSError):
                    serve(theirs, keeper)
                keeper.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)
        events.setblocking(False)
        return Keeping(holder, 0, orders, events)

    def poke(self, device: int, offset: int, value: int) -> None:
        """What a reset, or the owner, does to a register."""
        self.kernel.machine.devices[device].memory[offset : offset + 4] = value.to_bytes(4, "little")

    def peek(self, device: int, offset: int) -> int:
        return int.from_bytes(self.kernel.machine.devices[device].memory[offset : offset + 4], "little")

    def want_back(self, device: int) -> None:
        """What the kernel does that is about to remove an open device: it asks whoever wanted to be asked."""
        os.eventfd_write(self.kernel.machine.devices[device].events[4, 0], 1)

    def opened(self, device: int) -> bool:
        """Whether a process has it open: as long as that is so the kernel waits."""
        return bool(self.kernel.machine.devices[device].opened)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *error: object) -> None:
        self.keepers.close()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
