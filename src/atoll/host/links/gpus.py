"""Which functions are GPUs of NVIDIA and AMD, by vendor (its id, or its name in a text without ids) and class."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.model import Function
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass
from atoll.pci.vendor import ATI, NVIDIA

__all__ = ["may_be_amd_gpu", "may_be_nvidia_gpu", "nvidia_gpus"]


def nvidia_gpus(functions: Mapping[Address, Function]) -> tuple[Address, ...]:
    """Return the host's NVIDIA GPUs in PCI order; virtual functions are no GPUs of their own."""
    return tuple(
        address
        for address, function in sorted(functions.items())
        if function.made_by(NVIDIA) and function.base_class == BaseClass.DISPLAY and function.physical_function is None
    )


def may_be_amd_gpu(function: Function) -> bool:
    """Whether a function is a display or an accelerator of AMD's: MI300 calls itself the latter."""
    return function.made_by(ATI) and function.base_class in (BaseClass.DISPLAY, BaseClass.ACCELERATOR)


def may_be_nvidia_gpu(function: Function) -> bool:
    """Whether a function is a GPU of NVIDIA's, and not a virtual one, by what the record does not hide."""
    display = function.base_class == BaseClass.DISPLAY or not function.class_told
    return display and function.physical_function is None and any(v in (None, NVIDIA) for v, _ in function.all_ids)
