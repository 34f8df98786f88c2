"""Inside the guest: an A100's link is disabled and locked, through VFIO's reset, and DMA into memory it can map."""

import mmap
from collections.abc import Callable
from pathlib import Path

from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.vfio import RegionIndex, open_space
from lab.gpu.driver import Gpu, gpus
from labguest import answer

DEVICES = Path("/sys/bus/pci/devices")
BLOCK = 0xA17000
DISABLE, LOCK = BLOCK + 0x64C, BLOCK + 0x650
IOVA = 0x4000_0000
BOTH = Command.MEMORY | Command.MASTER


def outcome(action: Callable[[], bytes]) -> str:
    """Return what was read, or the number of the error."""
    try:
        return action().decode()
    except OSError as error:
        return f"errno {error.errno}"


folders = gpus()
answer({"methods": (folders[0] / "reset_method").read_text().split()})
for folder in folders:
    (folder / "driver_override").write_text("vfio-pci")
    (DEVICES.parent / "drivers_probe").write_text(folder.name)

memory = mmap.mmap(-1, 1 << 16)
memory[:12] = b"guest memory"
with open_space() as space:
    near, far = (space.open(Address.parse(folder.name)) for folder in folders)
    near.switch(BOTH, True)
    far.switch(BOTH, True)
    bar = near.region(RegionIndex.BAR0)
    gpu, peer = Gpu(bar), Gpu(far.region(RegionIndex.BAR0))
    answer({"boot": bar.read32(0), "before": [outcome(lambda: gpu.secret(0)), outcome(lambda: peer.secret(0))]})
    bar.write32(DISABLE, 1)
    bar.write32(LOCK, 1)
    bar.write32(DISABLE, 0)
    answer({"cut": [outcome(lambda: gpu.secret(0)), outcome(lambda: peer.secret(0))]})
    near.reset()
    near.switch(BOTH, True)
    answer({"after reset": [bar.read32(DISABLE), outcome(lambda: peer.secret(0))]})
    with space.map(IOVA, memory):
        answer({"mapped": outcome(lambda: gpu.dma_read(IOVA, 12))})
        gpu.dma_write(IOVA + 0x8000, b"from the gpu")
        answer({"written": memory[0x8000:0x800C].decode()})
    answer({"unmapped": outcome(lambda: gpu.dma_read(IOVA, 12))})
