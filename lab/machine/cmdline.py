"""Random command lines that shape a kernel's IOMMU groups, for a machine of a blueprint."""

from __future__ import annotations

import random

from atoll.twin.spec import Blueprint, FunctionSpec
from lab.machine.machine import Iommu

__all__ = ["random_cmdline"]

_WITHOUT_CONFIG_ACS = "6.1"
"""``pci=config_acs=`` came with Linux 6.11 (commit 47c8846a49ba "PCI: Extend ACS configurability")."""


def random_cmdline(dice: random.Random, blueprint: Blueprint, kernel: str, iommu: Iommu) -> str:
    """Return words beyond what the machine needs; half of the machines get none.

    Addresses are the blueprint's: right for machines that are numbered as firmware numbers them.
    """
    ports = [spec for spec in blueprint.functions if spec.acs is not None]
    pick = dice.random()
    if pick < 0.5 or not ports:
        return ""
    if pick < 0.6:
        return "iommu=pt"
    if pick < 0.63:
        return "amd_iommu=off" if iommu is Iommu.AMD else "intel_iommu=off"
    if pick < 0.66:
        return "pci=noats"
    some = dice.sample(ports, dice.randint(1, min(3, len(ports))))
    if pick < 0.83 or kernel.startswith(_WITHOUT_CONFIG_ACS):
        return f"pci=disable_acs_redir={';'.join(_names(dice, port) for port in some)}"
    return f"pci=config_acs={';'.join(f'{_bits(dice)}@{_names(dice, port)}' for port in some)}"


def _names(dice: random.Random, port: FunctionSpec) -> str:
    """By address, or by ids: then of every port of its kind."""
    return str(port.address) if dice.random() < 0.8 else f"pci:{port.vendor:04x}:{port.device:04x}"


def _bits(dice: random.Random) -> str:
    """Up to seven of 0, 1 and x, the last for bit 0."""
    return "".join(dice.choice("01x") for _ in range(7))
