"""What random machines decode beside plain BARs in windows that fit, as their firmware sets it up.

ROMs, some left on; I/O ports; VGA and the bridges that lead to it, or elsewhere; bridges of subtractive decoding with
windows and without; windows with spare room, of 32 bits, with ISA Enable. All of it, and what strays into it later, is
rolled on its own, after a machine is grown: what a seed's machine consists of does not depend on it.
"""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.pci.class_code import BaseClass, ClassCode, DeviceClass
from atoll.twin.decoding import ISA_ENABLE, VGA_16, VGA_ENABLE
from atoll.twin.machines import vmd
from atoll.twin.machines.random.spared import spared
from atoll.twin.machines.random.stray import strays
from atoll.twin.placement import place
from atoll.twin.sizes import KIBIBYTE, MEBIBYTE
from atoll.twin.spec import CONVENTIONAL_BUS, Bar, Blueprint, FunctionSpec, HostBridge, Window

__all__ = ["with_firmware"]

_CARDS = (BaseClass.ACCELERATOR, BaseClass.COMMUNICATION)
_PORTS = Window(0x1000, 0x1000, 0xF000)


def with_firmware(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine with more to decode and, mostly, stray writes; or as it is. What is plugged where stays."""
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
        return replace(made, stray=tuple(strays(made, done, dice)) if dice.random() < 0.5 else ())
    return plan


def _with_ports(bridges: tuple[HostBridge, ...]) -> tuple[HostBridge, ...]:
    """Share the I/O ports out among the host bridges, in windows of 4 KiB."""
    count = sum(bridge.vmd is None for bridge in bridges)
    size = _PORTS.size // count & ~0xFFF
    return tuple(
        bridge if bridge.vmd is not None else replace(bridge, io=Window(start, start, size))
        for index, bridge in enumerate(bridges)
        for start in (_PORTS.bus + index * size,)
    )


def _varied(spec: FunctionSpec, plan: Blueprint, dice: random.Random, most_spare: int) -> FunctionSpec:
    if spared(spec, plan):
        return spec
    if not spec.cardbus and dice.random() < (0.1 if spec.is_bridge else 0.25):
        size = dice.choice((2 * KIBIBYTE, 64 * KIBIBYTE, MEBIBYTE))
        spec = replace(spec, rom=size, rom_on=dice.random() < 0.5)
    if not spec.is_bridge:
        return _ported(spec, dice) if dice.random() < 0.2 else spec
    if dice.random() < 0.2 and not any(
        each.port in CONVENTIONAL_BUS for each in plan.functions if each.leads_to(spec.address)
    ):
        spec = replace(spec, spare=min(most_spare, dice.choice((1, 2, 16))) * MEBIBYTE)
    if dice.random() < 0.1:
        spec = replace(spec, bridge_control=ISA_ENABLE)
    if spec.port in CONVENTIONAL_BUS and not spec.cardbus:
        if dice.random() < 0.4:
            spec = replace(spec, class_code=ClassCode.SUBTRACTIVE_BRIDGE, windowless=dice.random() < 0.5)
        if not any(bar.prefetchable for each in plan.functions if spec.leads_to(each.address) for bar in each.bars):
            spec = replace(spec, prefetch_bits=dice.choice((64, 32, 0)), spare=0)
    return spec


def _ported(spec: FunctionSpec, dice: random.Random) -> FunctionSpec:
    """Add a BAR of I/O ports where one is left."""
    taken = {index for bar in spec.bars for index in (bar.index, bar.index + bar.wide)}
    free = [index for index in range(6) if index not in taken]
    if not free:
        return spec
    return replace(spec, bars=(*spec.bars, Bar(dice.choice(free), dice.choice((0x8, 0x20, 0x100)), io=True)))


def _showing(functions: tuple[FunctionSpec, ...], plan: Blueprint, dice: random.Random) -> tuple[FunctionSpec, ...]:
    """Make some cards show VGA, and let the bridges above forward it: mostly, and sometimes others instead."""
    found = {spec.address: spec for spec in functions}
    cards = [
        spec.address
        for spec in functions
        if spec.class_code >> 16 in _CARDS and not spec.is_bridge and not spared(spec, plan)
    ]
    bridges = [spec.address for spec in functions if spec.is_bridge]
    for address in dice.sample(cards, min(len(cards), dice.choice((0, 1, 1, 2)))):
        vga = DeviceClass.VGA if dice.random() < 0.9 else DeviceClass.UNCLASSIFIED_VGA
        found[address] = replace(found[address], class_code=vga << 8)
        control = VGA_ENABLE | (VGA_16 if dice.random() < 0.3 else 0)
        above = [spec.address for spec in functions if spec.leads_to(address)]
        if dice.random() < 0.2 and bridges:
            above.append(dice.choice(bridges))
        for bridge in above if dice.random() < 0.85 else ():
            found[bridge] = replace(found[bridge], bridge_control=found[bridge].bridge_control | control)
    return tuple(found.values())
