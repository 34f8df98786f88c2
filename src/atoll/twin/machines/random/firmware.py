"""What random machines decode beside plain BARs in windows that fit: by firmware, and by whoever wrote there later.

Firmware: ROMs, some left on; I/O ports; VGA and the bridges that lead to it, or elsewhere; bridges of subtractive
decoding with windows and without; windows with spare room, of 32 bits, with ISA Enable. Later, past the kernel:
windows that overlap, are too wide, closed or elsewhere, BARs that moved, decoding switched off and on. All of it is
rolled on its own, after a machine is grown: what a seed's machine consists of does not depend on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from atoll.pci.class_code import BaseClass, ClassCode, DeviceClass
from atoll.twin.decoding import ISA_ENABLE, VGA_16, VGA_ENABLE
from atoll.twin.machines import vmd
from atoll.twin.machines.intel import KIBIBYTE, MEBIBYTE
from atoll.twin.placement import ROM, Placement, Range, place
from atoll.twin.spec import CONVENTIONAL_BUS, Bar, Blueprint, FunctionSpec, HostBridge, Model, Store, Window

__all__ = ["with_firmware"]

_CARDS = (BaseClass.ACCELERATOR, BaseClass.COMMUNICATION)
_PORTS = Window(0x1000, 0x1000, 0xF000)
_CLOSED = 0x0000FFF0
_SRIOV = 0x280
"""Where a twin's SR-IOV capability stands."""
_MOST_STRAYS = 5


def with_firmware(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine with more to decode, or as it is; the functions and where they are plugged stay."""
    if dice.random() < 0.4:
        return plan
    bridges = _with_ports(plan.bridges)
    for most_spare in (16, 0):
        functions = tuple(_varied(spec, plan, dice, most_spare) for spec in plan.functions)
        functions = _showing(functions, plan, dice)
        made = replace(plan, bridges=bridges, functions=vmd.refitted(functions, bridges))
        try:
            done = place(made)
        except ValueError:
            continue  # the apertures are too small for it
        return replace(made, stray=tuple(_Strays(made, done, dice).roll()) if dice.random() < 0.5 else ())
    return plan


# -- what firmware does


def _with_ports(bridges: tuple[HostBridge, ...]) -> tuple[HostBridge, ...]:
    """Share the I/O ports out among the host bridges, in windows of 4 KiB."""
    count = sum(bridge.vmd is None for bridge in bridges)
    size = _PORTS.size // count & ~0xFFF
    return tuple(
        bridge if bridge.vmd is not None else replace(bridge, io=Window(start, start, size))
        for index, bridge in enumerate(bridges)
        for start in (_PORTS.bus + index * size,)
    )


def _special(spec: FunctionSpec, plan: Blueprint) -> bool:
    """Whether a function is left alone: virtual ones, IOMMUs, Volume Management Devices, what the host runs on."""
    needed = {plan.disk.function, *(network.function for network in plan.networks)}
    devices = {bridge.vmd for bridge in plan.bridges} | {unit.function for unit in plan.iommus}
    return spec.physfn is not None or spec.address in needed | devices


def _varied(spec: FunctionSpec, plan: Blueprint, dice: random.Random, most_spare: int) -> FunctionSpec:
    if _special(spec, plan):
        return spec
    if not spec.cardbus and dice.random() < (0.1 if spec.is_bridge else 0.25):
        size = dice.choice((2 * KIBIBYTE, 64 * KIBIBYTE, MEBIBYTE))
        spec = replace(spec, rom=size, rom_on=dice.random() < 0.5)
    if not spec.is_bridge:
        return _ported(spec, dice) if dice.random() < 0.2 else spec
    if dice.random() < 0.2 and not any(each.port in CONVENTIONAL_BUS for each in _above(spec, plan.functions)):
        spec = replace(spec, spare=min(most_spare, dice.choice((1, 2, 16))) * MEBIBYTE)
    if dice.random() < 0.1:
        spec = replace(spec, bridge_control=ISA_ENABLE)
    if spec.port in CONVENTIONAL_BUS and not spec.cardbus:
        if dice.random() < 0.4:
            spec = replace(spec, class_code=ClassCode.SUBTRACTIVE_BRIDGE, windowless=dice.random() < 0.5)
        if not any(bar.prefetchable for each in _below(spec, plan.functions) for bar in each.bars):
            spec = replace(spec, prefetch_bits=dice.choice((64, 32, 0)), spare=0)
    return spec


def _ported(spec: FunctionSpec, dice: random.Random) -> FunctionSpec:
    """Add a BAR of I/O ports where one is left."""
    taken = {index for bar in spec.bars for index in (bar.index, bar.index + bar.wide)}
    free = [index for index in range(6) if index not in taken]
    if not free:
        return spec
    return replace(spec, bars=(*spec.bars, Bar(dice.choice(free), dice.choice((0x8, 0x20, 0x100)), io=True)))


def _below(bridge: FunctionSpec, functions: tuple[FunctionSpec, ...]) -> Iterator[FunctionSpec]:
    for spec in functions:
        if spec.address.domain == bridge.address.domain and bridge.secondary <= spec.address.bus <= bridge.subordinate:
            yield spec


def _above(spec: FunctionSpec, functions: tuple[FunctionSpec, ...]) -> list[FunctionSpec]:
    """Return the bridges above a function."""
    at = spec.address
    return [
        each
        for each in functions
        if each.is_bridge and each.address.domain == at.domain and each.secondary <= at.bus <= each.subordinate
    ]


def _showing(functions: tuple[FunctionSpec, ...], plan: Blueprint, dice: random.Random) -> tuple[FunctionSpec, ...]:
    """Make some cards show VGA, and let the bridges above forward it: mostly, and sometimes others instead."""
    found = {spec.address: spec for spec in functions}
    cards = [
        spec.address
        for spec in functions
        if spec.class_code >> 16 in _CARDS and not spec.is_bridge and not _special(spec, plan)
    ]
    bridges = [spec.address for spec in functions if spec.is_bridge]
    for address in dice.sample(cards, min(len(cards), dice.choice((0, 1, 1, 2)))):
        vga = DeviceClass.VGA if dice.random() < 0.9 else DeviceClass.UNCLASSIFIED_VGA
        found[address] = replace(found[address], class_code=vga << 8)
        control = VGA_ENABLE | (VGA_16 if dice.random() < 0.3 else 0)
        above = [spec.address for spec in _above(found[address], functions)]
        if dice.random() < 0.2 and bridges:
            above.append(dice.choice(bridges))
        for bridge in above if dice.random() < 0.85 else ():
            found[bridge] = replace(found[bridge], bridge_control=found[bridge].bridge_control | control)
    return tuple(found.values())


# -- what somebody wrote later


@dataclass(slots=True)
class _Strays:
    """Writes past the kernel, into what firmware set up."""

    plan: Blueprint
    done: Placement
    dice: random.Random

    def roll(self) -> Iterator[Store]:
        """Yield a few writes."""
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
        for _ in range(self.dice.randint(1, _MOST_STRAYS)):
            yield from self.dice.choice(ways)()

    def any(self, found: list[FunctionSpec]) -> Iterator[FunctionSpec]:
        """Yield one of those that may be written to, if there is any."""
        free = [spec for spec in found if not _special(spec, self.plan)]
        if free:
            yield self.dice.choice(free)

    def bridge(self) -> Iterator[FunctionSpec]:
        """Yield a bridge."""
        return self.any([spec for spec in self.plan.functions if spec.is_bridge])

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
        for spec in self.any(found):
            bar = self.dice.choice([bar for bar in spec.bars if not bar.io])
            if spec.model is Model.V100 and bar.index == 0:
                continue
            yield Store(spec.address, 0x10 + 4 * bar.index, 4, self.somewhere(spec.address.domain, bar.size))
            if bar.wide:
                yield Store(spec.address, 0x14 + 4 * bar.index, 4, 0)

    def rom(self) -> Iterator[Store]:
        """A ROM switched on, where it was or elsewhere."""
        for spec in self.any([spec for spec in self.plan.functions if spec.rom]):
            start = self.done.bars[spec.address, ROM].start
            if self.dice.random() < 0.5:
                start = self.somewhere(spec.address.domain, spec.rom)
            yield Store(spec.address, 0x38 if spec.is_bridge else 0x30, 4, start | 1)

    def command(self) -> Iterator[Store]:
        """Decoding and bus mastering switched on or off."""
        for spec in self.any(list(self.plan.functions)):
            yield Store(spec.address, 4, 2, self.dice.choice((1, 2, 4, 5, 6, 7)))

    def no_memory(self) -> Iterator[Store]:
        """Memory decoding off, and I/O ports on, at a function that has them."""
        for spec in self.any([each for each in self.plan.functions if any(bar.io for bar in each.bars)]):
            yield Store(spec.address, 4, 2, self.dice.choice((1, 5)))

    def virtual(self) -> Iterator[Store]:
        """Virtual functions' BARs elsewhere, or decoding nothing (SR-IOV's BAR 0, and VF MSE of its control)."""
        for spec in self.any([each for each in self.plan.functions if each.vf_total]):
            if self.dice.random() < 0.3:
                yield Store(spec.address, _SRIOV + 0x08, 2, 0x1)
                continue
            size = 1 << (spec.vf_bar * spec.vf_total - 1).bit_length()
            yield Store(spec.address, _SRIOV + 0x24, 4, self.somewhere(spec.address.domain, size))
            yield Store(spec.address, _SRIOV + 0x28, 4, 0)

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
