"""Which functions are GPUs of NVIDIA, by vendor and class."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.model import Function
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass
from atoll.pci.vendor import NVIDIA

__all__ = ["nvidia_gpus"]


def nvidia_gpus(functions: Mapping[Address, Function]) -> tuple[Address, ...]:
    """Return the host's NVIDIA GPUs in PCI order; virtual functions are no GPUs of their own."""
    return tuple(
        address
        for address, function in sorted(functions.items())
        if function.vendor == NVIDIA and function.base_class == BaseClass.DISPLAY and function.physical_function is None
    )
