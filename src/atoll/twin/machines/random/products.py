"""What the endpoints of random machines say they are."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.pci.class_code import ClassCode
from atoll.twin.sizes import MEBIBYTE
from atoll.twin.spec import Bar, FunctionSpec

__all__ = [
    "ADAPTER",
    "CARD",
    "DISK",
    "ENGINE",
    "FIRST_NAME",
    "GPU",
    "GPU_BARS",
    "HIDDEN_DISK",
    "NETWORK",
    "SECOND_NAME",
    "SERIAL",
    "SEVERAL_ADAPTERS",
    "Product",
]


@dataclass(frozen=True, slots=True)
class Product:
    """Identifiers, a class of 24 bits, and the host driver that binds."""

    vendor: int
    device: int
    class_code: int
    driver: str

    def matches(self, spec: FunctionSpec) -> bool:
        """Whether a function bears these identifiers."""
        return (spec.vendor, spec.device) == (self.vendor, self.device)


CARD = Product(0x10EE, 0x9038, ClassCode.ACCELERATOR, "xdma")
"""An accelerator card (the vendor's example id)."""
ENGINE = Product(0x10EE, 0x9038, ClassCode.OTHER_PERIPHERAL, "xdma")
"""A switch's DMA engine."""
GPU = Product(0x10DE, 0x1DB1, ClassCode.DISPLAY_3D, "nvidia")
"""A V100, as on x86 machines."""
GPU_BARS = (
    Bar(0, 16 * MEBIBYTE),
    Bar(1, 256 * MEBIBYTE, wide=True, prefetchable=True),
    Bar(3, 32 * MEBIBYTE, wide=True, prefetchable=True),
)
"""With less memory than a real one shows: apertures are small."""
SECOND_NAME = Product(0x1B4B, 0x9230, ClassCode.AHCI, "ahci")
"""Also sends as function 1 of its slot (``quirk_dma_func1_alias``, drivers/pci/quirks.c)."""
FIRST_NAME = Product(0x1180, 0xE832, ClassCode.FIREWIRE_OHCI, "ohci")
"""Also sends as function 0 of its slot (``quirk_dma_func0_alias``)."""
SERIAL = Product(0x1415, 0x9501, ClassCode.SERIAL_16950, "serial")
"""On conventional buses."""
ADAPTER = Product(0x15B3, 0x1015, ClassCode.ETHERNET, "mlx5_core")
"""With virtual functions, whose device id is the next one."""
SEVERAL_ADAPTERS = Product(0x15B3, 0x1017, ClassCode.ETHERNET, "mlx5_core")
"""With several physical functions, and virtual ones of the next device id."""
NETWORK = Product(0x8086, 0x1533, ClassCode.ETHERNET, "igb")
DISK = Product(0x144D, 0xA804, ClassCode.NVME, "nvme")
HIDDEN_DISK = Product(0x8086, 0x0A54, ClassCode.NVME, "nvme")
"""A disk behind a Volume Management Device: where there is one, it has the root file system."""
