"""Inside the guest: drive emulated GPUs through sysfs and through VFIO, and hand back what each did."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.vfio import Access, IrqIndex, RegionIndex, open_space
from lab.gpu.driver import Gpu, gpus, mapped_registers
from labguest import PATIENCE, answer

DEVICES = Path("/sys/bus/pci/devices")
CUT = ((0x12004C, 4), (0x122204, 2), (0x200, 1 << 25))
MASK = 0xA00148
IOVA = 0x4000_0000


def outcome(action: object, *arguments: object) -> object:
    """Return what an order brought: text, or the name of its error."""
    assert callable(action)
    try:
        found = action(*arguments)
    except OSError as error:
        return f"errno {error.errno}"
    return found.decode() if isinstance(found, bytes) else found


def cut(words: memoryview, links: int) -> int:
    """Cut links of a V100; return the mask register."""
    for offset, value in (*CUT, (MASK, links << 16)):
        words[offset // 4] = value
    return words[MASK // 4]


def through_sysfs() -> dict[str, object]:
    """Registers, memory, links and the mask; which resets take it away."""
    first, second = gpus()
    found: dict[str, object] = {
        "ids": [(path / "device").read_text().strip() for path in (first, second)],
        "methods": (first / "reset_method").read_text().strip(),
        "groups": [os.path.basename(os.readlink(path / "iommu_group")) for path in (first, second)],
    }
    with mapped_registers(first) as one, mapped_registers(second) as two:
        near, far = Gpu(one), Gpu(two)
        found["boot"] = one[0]
        began = time.monotonic()
        for _ in range(500):
            one[0]
        found["microseconds_a_read"] = round((time.monotonic() - began) / 500 * 1e6, 1)
        found["before"] = [outcome(near.secret, 0), outcome(far.secret, 0)]
        found["mask"] = cut(two, 1)
        two[MASK // 4] = 0
        found["mask kept"] = two[MASK // 4]
        found["cut"] = [outcome(near.secret, 0), outcome(far.secret, 0)]
    (second / "reset").write_text("1")
    with mapped_registers(first) as one, mapped_registers(second) as two:
        found["mask after reset"] = two[MASK // 4]
        found["after reset"] = outcome(Gpu(one).secret, 0)
    return found


def bind(folder: Path) -> Address:
    """Give a GPU to vfio-pci."""
    (folder / "driver_override").write_text("vfio-pci")
    (DEVICES.parent / "drivers_probe").write_text(folder.name)
    return Address.parse(folder.name)


def through_vfio() -> dict[str, object]:
    """DMA through the IOMMU, the interrupt, and what VFIO's reset does to the mask."""
    addresses = [bind(path) for path in gpus()]
    found: dict[str, object] = {}
    memory = mmap.mmap(-1, 8192)
    memory[:12] = b"guest memory"
    with open_space() as space:
        device = space.open(addresses[0])
        device.switch(Command.MEMORY | Command.MASTER, True)
        bar = device.region(RegionIndex.BAR0)
        gpu = Gpu(bar)
        found["unmapped"] = outcome(gpu.dma_read, IOVA, 12)
        with space.map(IOVA, memory, access=Access.READ | Access.WRITE):
            found["mapped"] = outcome(gpu.dma_read, IOVA, 12)
            outcome(gpu.dma_write, IOVA + 64, b"from the gpu")
            found["written"] = bytes(memory[64:76]).decode()
            device.bus_master(False)
            found["no master"] = outcome(gpu.dma_read, IOVA, 12)
            device.bus_master(True)
            event = device.event()
            device.interrupt(IrqIndex.MSI).signal([event])
            gpu.interrupts(True)
            gpu.dma_read(IOVA, 12)
            found["interrupt"] = event.wait(PATIENCE)
            gpu.interrupts(False)
            device.interrupt(IrqIndex.MSI).disable()
            event.close()
        found["unmapped again"] = outcome(gpu.dma_read, IOVA, 12)
        with bar.map() as window:
            cut(window.words, 1)
            found["mask"] = bar.read32(MASK)
        device.reset()
        device.decode(True)
        found["mask after reset"] = bar.read32(MASK)
        gpu.run(3)
    return found


def main() -> None:
    answer({"sysfs": through_sysfs()})
    answer({"vfio": through_vfio()})


main()
