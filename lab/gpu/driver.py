"""The emulated GPU from its owner's side: the registers through which it takes orders.

It runs inside the guest, where ``guest_files`` puts it under the same name, from the standard library alone. It needs
an accessor of BAR 0: an object with ``read32(offset)`` and ``write32(offset, value)``, or a ``memoryview`` of the
mapped BAR (cast to anything). The layout is the emulation's own: real GPUs have no such mailbox.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

__all__ = [
    "DATA_SIZE",
    "MAILBOX",
    "Accessor",
    "Command",
    "Gpu",
    "Register",
    "Status",
    "Words",
    "gpus",
    "mapped_registers",
]

MAILBOX = 0xE00000
"""Where the mailbox stands in BAR 0."""
DATA_SIZE = 1024
"""Bytes that one order moves at most."""


class Register:
    """Offsets in the mailbox, 32 bits each."""

    COMMAND = 0x00
    """A write starts an order; ignored while one is under way."""
    STATUS = 0x04
    ADDRESS_LOW = 0x08
    ADDRESS_HIGH = 0x0C
    LENGTH = 0x10
    LINK = 0x14
    ERROR = 0x18
    """The errno of an order that failed."""
    OWNER = 0x1C
    """Whoever runs on the GPU writes its token here, and 0 when it stops. It survives resets: it is no hardware."""
    COMPLETED = 0x20
    """How many orders ended since the last reset."""
    INTERRUPT = 0x24
    """Bit 0: send a message interrupt when an order ends."""
    DATA = 0x400
    """What an order writes, or has read."""


class Command:
    """What an order does."""

    LINK_READ = 1
    """Read the memory of the peer at the other end of a link."""
    DMA_READ = 2
    """Read system memory, at an address that the GPU's IOMMU translates."""
    DMA_WRITE = 3
    LINK_WRITE = 4


class Status:
    """How an order stands."""

    IDLE = 0
    BUSY = 1
    DONE = 2
    FAILED = 3


class Accessor(Protocol):
    """32-bit loads and stores in BAR 0."""

    def read32(self, offset: int) -> int:
        """Return 32 bits at a byte offset."""
        ...

    def write32(self, offset: int, value: int) -> None:
        """Store 32 bits at a byte offset."""
        ...


class Words:
    """An accessor over mapped memory. Every access is one 32-bit load or store."""

    def __init__(self, memory: memoryview) -> None:
        self._words = memory.cast("B").cast("I") if memory.format != "I" else memory

    def read32(self, offset: int) -> int:
        """Return 32 bits at a byte offset."""
        return int(self._words[offset // 4])

    def write32(self, offset: int, value: int) -> None:
        """Store 32 bits at a byte offset."""
        self._words[offset // 4] = value

    def release(self) -> None:
        """Let go of the memory, so that its mapping can be closed."""
        self._words.release()


def gpus() -> list[Path]:
    """Return the folders of this machine's GPUs in sysfs, in the order of their addresses."""
    devices = Path("/sys/bus/pci/devices")
    return [folder for folder in sorted(devices.iterdir()) if (folder / "vendor").read_text() == "0x10de\n"]


@contextmanager
def mapped_registers(folder: Path) -> Iterator[memoryview]:
    """BAR 0 of the function with this folder in sysfs, through ``resource0``, as 32-bit words; decoding is left on."""
    config = os.open(folder / "config", os.O_RDWR)
    os.pwrite(config, (int.from_bytes(os.pread(config, 2, 4), "little") | 2).to_bytes(2, "little"), 4)
    os.close(config)
    descriptor = os.open(folder / "resource0", os.O_RDWR)
    mapping = mmap.mmap(descriptor, 16 << 20)
    os.close(descriptor)
    words = memoryview(mapping).cast("I")
    try:
        yield words
    finally:
        words.release()
        mapping.close()


class Gpu:
    """Orders to one emulated GPU. OSError carries the errno of an order that failed, TimeoutError that none came.

    ENOLINK: the link is cut at this end, or leads nowhere; EREMOTEIO: it is cut at the other end; EPERM: bus
    mastering is off. What the IOMMU refuses comes as the errno of whoever emulates it.
    """

    def __init__(self, bar: Accessor | memoryview, *, seconds: float = 300.0) -> None:
        self._bar: Accessor = Words(bar) if isinstance(bar, memoryview) else bar
        self._seconds = seconds

    def register(self, offset: int) -> int:
        """Return a register of the mailbox."""
        return self._bar.read32(MAILBOX + offset)

    def run(self, token: int) -> None:
        """Tell the emulation who runs on the GPU from now on; 0 for nobody."""
        self._bar.write32(MAILBOX + Register.OWNER, token)

    def interrupts(self, on: bool) -> None:
        """Have a message interrupt sent when an order ends, or not."""
        self._bar.write32(MAILBOX + Register.INTERRUPT, int(on))

    def read_peer(self, link: int, address: int = 0, count: int = 64) -> bytes:
        """Return memory of the peer at the other end of a link."""
        self.order(Command.LINK_READ, address, count, link=link)
        return self._data(count)

    def write_peer(self, link: int, address: int, data: bytes) -> None:
        """Store to memory of the peer at the other end of a link."""
        self._put(data)
        self.order(Command.LINK_WRITE, address, len(data), link=link)

    def secret(self, link: int) -> bytes:
        """Return what stands at the start of a peer's memory, up to the first zero byte."""
        return self.read_peer(link).split(b"\0", 1)[0]

    def dma_read(self, iova: int, count: int) -> bytes:
        """Return system memory, at an address that the IOMMU translates."""
        self.order(Command.DMA_READ, iova, count)
        return self._data(count)

    def dma_write(self, iova: int, data: bytes) -> None:
        """Store to system memory, at an address that the IOMMU translates."""
        self._put(data)
        self.order(Command.DMA_WRITE, iova, len(data))

    def start(self, command: int, address: int, count: int, *, link: int = 0) -> None:
        """Start an order without waiting for its end."""
        if not 0 < count <= DATA_SIZE:
            raise ValueError(f"{count} bytes in one order, which moves 1 to {DATA_SIZE}")
        for offset, value in (
            (Register.ADDRESS_LOW, address & 0xFFFFFFFF),
            (Register.ADDRESS_HIGH, address >> 32),
            (Register.LENGTH, count),
            (Register.LINK, link),
            (Register.COMMAND, command),
        ):
            self._bar.write32(MAILBOX + offset, value)

    def order(self, command: int, address: int, count: int, *, link: int = 0) -> None:
        """Start an order and poll until it ended."""
        self.start(command, address, count, link=link)
        deadline = time.monotonic() + self._seconds
        while (status := self.register(Register.STATUS)) == Status.BUSY:
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"order {command} of the GPU does not end")
        if status == Status.DONE:
            return
        if status != Status.FAILED:
            raise OSError(errno.EIO, f"the GPU does not answer, or was reset: status {status:#x}")
        code = self.register(Register.ERROR)
        raise OSError(code, os.strerror(code))

    def _data(self, count: int) -> bytes:
        words = [self._bar.read32(MAILBOX + Register.DATA + at) for at in range(0, count, 4)]
        return b"".join(word.to_bytes(4, "little") for word in words)[:count]

    def _put(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4)
        for at in range(0, len(padded), 4):
            self._bar.write32(MAILBOX + Register.DATA + at, int.from_bytes(padded[at : at + 4], "little"))
