"""What is older than PCI Express in random machines: bridges to CardBus, IDE controllers at fixed ports."""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.pci.class_code import DeviceClass
from atoll.pci.header import PortType
from atoll.twin.machines.random.spared import spared
from atoll.twin.spec import Blueprint, FunctionSpec, Model

__all__ = ["with_legacy"]

_CARDBUS = (0x104C, 0xAC56)
_CHANNELS = (0x80, 0x80, 0x8A, 0x85, 0x81, 0x84)
"""Programming interfaces of IDE controllers: both channels at fixed ports (can they be elsewhere or not), none, one."""


def with_legacy(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine in which most conventional bridges lead to CardBus, and some cards are IDE controllers."""
    functions = []
    for spec in plan.functions:
        plain = spec.model is Model.PLAIN and not spec.vf_total and not spared(spec, plan)
        if spec.is_bridge and spec.port is PortType.CONVENTIONAL and dice.random() < 0.8:
            functions.append(_cardbus(spec))
        elif plain and not spec.is_bridge and dice.random() < 0.3:
            bars = spec.bars if dice.random() < 0.5 else ()
            functions.append(replace(spec, class_code=DeviceClass.IDE << 8 | dice.choice(_CHANNELS), bars=bars))
        else:
            functions.append(spec)
    return replace(plan, functions=tuple(functions))


def _cardbus(spec: FunctionSpec) -> FunctionSpec:
    vendor, device = _CARDBUS
    return replace(
        spec,
        vendor=vendor,
        device=device,
        class_code=DeviceClass.CARDBUS_BRIDGE << 8,
        bus_alias=False,
        bars=(),
        prefetch_bits=0,
        cardbus=True,
    )
