"""Writes past the kernel into random machines, once firmware set them up.

Windows that overlap, are too wide, closed or elsewhere, BARs that moved, decoding switched off and on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from atoll.twin.configspace import SRIOV_AT
from atoll.twin.decoding import ISA_ENABLE, VGA_16, VGA_ENABLE
from atoll.twin.machines.random.spared import spared
from atoll.twin.placement import ROM, Placement, Range
from atoll.twin.sizes import MEBIBYTE
from atoll.twin.spec import Blueprint, FunctionSpec, Model, Store

__all__ = ["strays"]

_CLOSED = 0x0000FFF0
"""Memory base and limit of a window that is closed."""
_MOST = 5


def strays(plan: Blueprint, done: Placement, dice: random.Random) -> Iterator[Store]:
    """Yield a few writes to a machine whose firmware put everything in its place."""
    return _Strays(plan, done, dice).roll()


@dataclass(slots=True)
class _Strays:
    """Writes past the kernel, into what firmware set up."""

    plan: Blueprint
    done: Placement
    dice: random.Random

    def roll(self) -> Iterator[Store]:
        """Yield a few writes."""
        # Each as often as it stands here.
        ways: tuple[Callable[[], Iterator[Store]], ...] = (
            self.window,
            self.window,
            self.window,
            self.upper,
            self.bar,
            self.bar,
            self.bar,
            self.rom,
            self.command,
            self.command,
            self.control,
            self.ports,
            self.virtual,
            self.no_memory,
        )
        for _ in range(self.dice.randint(1, _MOST)):
            yield from self.dice.choice(ways)()

    def one_of(self, found: list[FunctionSpec]) -> Iterator[FunctionSpec]:
        """Yield one of those that may be written to, if there is any."""
        free = [spec for spec in found if not spared(spec, self.plan)]
        if free:
            yield self.dice.choice(free)

    def bridge(self) -> Iterator[FunctionSpec]:
        """Yield a bridge."""
        return self.one_of([spec for spec in self.plan.functions if spec.is_bridge])

    def somewhere(self, domain: int, size: int) -> int:
        """Return a place for so many bytes below 4 GiB, where they do not belong."""
        bridges = [each for each in self.plan.bridges if each.domain == domain and each.vmd is None]
        windows = [place for address, place in self.done.low.items() if address.domain == domain]
        bars = [place for (address, _), place in self.done.bars.items() if address.domain == domain]
        low = [place.start for place in bars if place.end < 1 << 32]
        choices = [0, 0x10000000, 0xA0000, *(each.low.bus + each.low.size - size for each in bridges)]
        choices += [self.dice.choice(windows).start] * 3 if windows else []
        choices += [self.dice.choice(low)] * 3 if low else []
        return self.dice.choice(choices) & ~(size - 1)

    def window(self) -> Iterator[Store]:
        """A memory window too wide, over another's, closed, or elsewhere."""
        for spec in self.bridge():
            now = self.done.low.get(spec.address)
            beside = [
                self.done.low[each.address]
                for each in self.plan.functions
                if each.address[:2] == spec.address[:2] and each.address in self.done.low and each is not spec
            ]
            choices: list[Range | None] = [None]
            if now is not None:
                more = self.dice.choice((1, 3, 8)) * MEBIBYTE
                choices += [Range(now.start, now.size + more), Range(now.start - more, now.size + more)]
                choices.append(Range(self.somewhere(spec.address.domain, MEBIBYTE), now.size))
            if beside:
                other = self.dice.choice(beside)
                first = min(other.start, now.start if now is not None else other.start)
                last = max(other.end, now.end if now is not None else other.end)
                choices += [other, Range(first, last - first + 1)]
            to = self.dice.choice(choices)
            value = _CLOSED if to is None else to.start >> 16 & 0xFFF0 | (to.end >> 16 & 0xFFF0) << 16
            yield Store(spec.address, 0x20, 4, value)

    def upper(self) -> Iterator[Store]:
        """A prefetchable window that reaches further, is closed, or lies elsewhere."""
        for spec in self.bridge():
            now = self.done.high.get(spec.address)
            if now is None or spec.prefetch_bits != 64:
                continue
            offset, value = self.dice.choice(
                ((0x2C, (now.end >> 32) + 1), (0x2C, 0), (0x28, (now.start >> 32) + 1), (0x28, 0), (0x26, 0xFFF0))
            )
            yield Store(spec.address, offset, 2 if offset == 0x26 else 4, value)

    def bar(self) -> Iterator[Store]:
        """A BAR elsewhere; not a V100's first, through which its links are cut."""
        found = [spec for spec in self.plan.functions if any(not bar.io for bar in spec.bars)]
        for spec in self.one_of(found):
            bar = self.dice.choice([bar for bar in spec.bars if not bar.io])
            if spec.model is Model.V100 and bar.index == 0:
                continue
            yield Store(spec.address, 0x10 + 4 * bar.index, 4, self.somewhere(spec.address.domain, bar.size))
            if bar.wide:
                yield Store(spec.address, 0x14 + 4 * bar.index, 4, 0)

    def rom(self) -> Iterator[Store]:
        """A ROM switched on, where it was or elsewhere."""
        for spec in self.one_of([spec for spec in self.plan.functions if spec.rom]):
            start = self.done.bars[spec.address, ROM].start
            if self.dice.random() < 0.5:
                start = self.somewhere(spec.address.domain, spec.rom)
            yield Store(spec.address, 0x38 if spec.is_bridge else 0x30, 4, start | 1)

    def command(self) -> Iterator[Store]:
        """Decoding and bus mastering switched on or off."""
        for spec in self.one_of(list(self.plan.functions)):
            yield Store(spec.address, 4, 2, self.dice.choice((1, 2, 4, 5, 6, 7)))

    def no_memory(self) -> Iterator[Store]:
        """Memory decoding off, and I/O ports on, at a function that has them."""
        for spec in self.one_of([each for each in self.plan.functions if any(bar.io for bar in each.bars)]):
            yield Store(spec.address, 4, 2, self.dice.choice((1, 5)))

    def virtual(self) -> Iterator[Store]:
        """Virtual functions' BARs elsewhere, or decoding nothing (SR-IOV's BAR 0, and VF MSE of its control)."""
        for spec in self.one_of([each for each in self.plan.functions if each.vf_total]):
            if self.dice.random() < 0.3:
                yield Store(spec.address, SRIOV_AT + 0x08, 2, 0x1)
                continue
            size = 1 << (spec.vf_bar * spec.vf_total - 1).bit_length()
            yield Store(spec.address, SRIOV_AT + 0x24, 4, self.somewhere(spec.address.domain, size))
            yield Store(spec.address, SRIOV_AT + 0x28, 4, 0)

    def control(self) -> Iterator[Store]:
        """VGA and ISA forwarded otherwise."""
        for spec in self.bridge():
            yield Store(spec.address, 0x3E, 2, self.dice.choice((0, VGA_ENABLE, VGA_ENABLE | VGA_16, ISA_ENABLE)))

    def ports(self) -> Iterator[Store]:
        """A window of I/O ports from 4 KiB to everything."""
        for spec in self.bridge():
            first = self.dice.randrange(16)
            last = self.dice.randrange(16)
            yield Store(spec.address, 0x1C, 2, first << 4 | last << 12)
