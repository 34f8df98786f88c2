"""An emulated GPU as a served PCI device: configuration space, BARs, resets, interrupt."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping

from atoll.pci.header import Command as CommandBit
from atoll.twin.function import Function
from atoll.vfio.user.device import ONE_LINE_ONE_MESSAGE, Irq, Region
from atoll.vfio.user.protocol import IrqIndex, RegionIndex
from atoll.vfio.user.server import Server
from lab.gpu.chip import Chip
from lab.gpu.gates import Gates
from lab.gpu.link import Link
from lab.gpu.log import Log
from lab.gpu.mailbox import Mailbox
from lab.gpu.memory import Memory

__all__ = ["GpuDevice"]

_ONES = 0xFFFFFFFF
_INITIATE_FLR = 0x8000
"""Initiate Function Level Reset, bit 15 of device control at +8 (PCI Express 7.5.3.4)."""


class GpuDevice:
    """One GPU. It is its links' memory, its mailbox's DMA and its server's device."""

    def __init__(self, index: int, chip: Chip, memory: Memory, gates: Gates, log: Log) -> None:
        self._index = index
        self._chip = chip
        self._memory = memory
        self._gates = gates
        self._log = log
        self._function = Function(chip.spec(memory.size))
        self._cut = 0
        self.links: dict[int, Link] = {}
        self.mailbox = Mailbox(self.links, self, self._interrupt, log)
        self.server: Server | None = None
        """The client's connection, while there is one."""
        self.changed: Callable[[], None] = lambda: None
        """Called when links were cut or opened."""

    # -- its memory, for its peers

    def is_cut(self, link: int) -> bool:
        """Whether a link is cut at this end."""
        return bool(self._cut >> link & 1)

    def load(self, address: int, count: int) -> bytes | None:
        """Return bytes of the GPU's memory."""
        return self._memory.load(address, count)

    def store(self, address: int, data: bytes) -> bool:
        """Store bytes in the GPU's memory."""
        return self._memory.store(address, data)

    # -- its DMA

    def dma_read(self, address: int, count: int, done: Callable[[int, bytes], None]) -> None:
        """Read system memory: EPERM without bus mastering, ENOTCONN without a machine around it."""
        server = self._way(done)
        if server is not None:
            server.dma_read(address, count, done)

    def dma_write(self, address: int, data: bytes, done: Callable[[int, bytes], None]) -> None:
        """Write system memory."""
        server = self._way(done)
        if server is not None:
            server.dma_write(address, data, done)

    def _way(self, done: Callable[[int, bytes], None]) -> Server | None:
        if not self._function.master:
            done(errno.EPERM, b"")
        elif self.server is None:
            done(errno.ENOTCONN, b"")
        else:
            return self.server
        return None

    def _interrupt(self) -> None:
        sent = self.server is not None and self.server.interrupts.trigger(IrqIndex.MSI)
        self._log.event("interrupt", sent=sent)

    # -- as a served device

    @property
    def regions(self) -> Mapping[int, Region]:
        """BAR 0 is registers; BAR 1 is memory that a client can map."""
        return {
            int(RegionIndex.BAR0): Region(self._chip.bar0),
            int(RegionIndex.BAR1): Region(self._memory.size, descriptor=self._memory.descriptor),
            int(RegionIndex.CONFIG): Region(len(self._function.config)),
        }

    @property
    def interrupts(self) -> Mapping[int, Irq]:
        """One message interrupt, and the line that every function with an interrupt pin has."""
        return ONE_LINE_ONE_MESSAGE

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Load bytes of a region."""
        if region == RegionIndex.CONFIG:
            return bytes(self._function.config[offset : offset + count])
        if region == RegionIndex.BAR1:
            return self._memory.load(offset, count) or b""
        first = offset & ~3
        words = [self._load(at).to_bytes(4, "little") for at in range(first, offset + count, 4)]
        return b"".join(words)[offset - first : offset - first + count]

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Store bytes in a region; parts of a register keep its other bytes."""
        if region == RegionIndex.CONFIG:
            self._write_config(offset, data)
        elif region == RegionIndex.BAR1:
            self._memory.store(offset, data)
        else:
            for at in range(offset & ~3, offset + len(data), 4):
                before, after = max(0, offset - at), min(4, offset + len(data) - at)
                word = bytearray(4 if after - before == 4 else self._load(at).to_bytes(4, "little"))
                word[before:after] = data[at + before - offset : at + after - offset]
                self._store(at, int.from_bytes(word, "little"))

    def reset(self) -> None:
        """A conventional reset: whoever emulates the bus sends it for a secondary bus reset and at power-on."""
        at = time.monotonic_ns()
        self._function.power_on()
        self.mailbox.reset()
        self._log.event("reset", at=at, kind="bus", cut=self._cut)
        self._update(at)

    # -- registers

    def _answers(self) -> bool:
        return CommandBit.MEMORY in self._function.command and not self._function.power

    def _load(self, offset: int) -> int:
        if not self._answers():
            return _ONES
        if Mailbox.holds(offset):
            return self.mailbox.read(offset)
        return self._chip.read(self._function.registers, offset)

    def _store(self, offset: int, value: int) -> None:
        if not self._answers():
            return
        if Mailbox.holds(offset):
            self.mailbox.write(offset, value)
            return
        at = time.monotonic_ns()
        self._chip.write(self._function.registers, offset, value)
        self._log.event("store", at=at, offset=offset, value=value)
        self._update(at)

    def _write_config(self, offset: int, data: bytes) -> None:
        function = self._function
        mask = function.layout.writable
        for place, byte in enumerate(data, start=offset):
            function.config[place] = function.config[place] & ~mask[place] | byte & mask[place]
        express = function.layout.express
        if function.spec.flr and function.get(express + 8, 2) & _INITIATE_FLR:
            self._function_reset()

    def _function_reset(self) -> None:
        at = time.monotonic_ns()
        kept = dict(self._function.registers)
        self._function.power_on()
        self._chip.function_reset(kept)
        self._function.registers.update(kept)
        self.mailbox.reset()
        self._log.event("reset", at=at, kind="flr", cut=self._cut)
        self._update(at)

    def _update(self, at: int) -> None:
        """Tell the peers which links are cut at this end now.

        What opens is logged with the time before it opened, what closes with the time after: the log never says
        less than was open.
        """
        cut = self._chip.cut_links(self._function.registers)
        if cut == self._cut:
            return
        still = self._cut & cut
        if still != self._cut:
            self._log.event("links", at=at, cut=still)
        self._cut = cut
        self._gates.publish(self._index, cut)
        if still != cut:
            self._log.event("links", cut=cut)
        self.changed()
