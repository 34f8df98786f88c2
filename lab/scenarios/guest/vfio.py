"""Inside the guest: every call of atoll.vfio on real devices, over each interface that the kernel has."""

import errno
import gc
import mmap
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import labguest
from atoll.pci.address import Address
from atoll.vfio import AddressSpace, Api, Device, IrqIndex, RegionIndex, VfioError, interfaces, open_space
from atoll.vfio.handover import export, receive
from atoll.vfio.kernel import LiveKernel
from atoll.vfio.uapi.feature import Feature
from labguest import PATIENCE, until

PCI = Path("/sys/bus/pci/devices")
EDU_ID = 0x010000ED
RDBAL = 0x2800
"""A register of the e1000e that keeps what is written, until a reset."""

found: dict[str, dict[str, object]] = {}


def device_of(ids: str) -> Address:
    """Return the first function with these ids, ``0xvvvv:0xdddd``. Ends the guest where there is none."""
    for folder in sorted(PCI.iterdir()):
        if f"{(folder / 'vendor').read_text().strip()}:{(folder / 'device').read_text().strip()}" == ids:
            return Address.parse(folder.name)
    raise SystemExit(f"no device {ids}")


def bind(address: Address) -> None:
    """Bind a function to vfio-pci."""
    folder = PCI / str(address)
    if (folder / "driver").exists():
        (folder / "driver" / "unbind").write_text(str(address))
    (folder / "driver_override").write_text("vfio-pci")
    Path("/sys/bus/pci/drivers_probe").write_text(str(address))


def refused(call: Callable[[], object]) -> list[object]:
    """What an error says: its kind, number and message; empty where there is none."""
    try:
        call()
    except VfioError as error:
        return [type(error).__name__, errno.errorcode.get(error.errno or 0), error.message, bool(error.hint)]
    return []


def transfer(edu: Device, source: int, target: int, size: int, *, out: bool) -> bool:
    """Let the edu device copy; whether it ended."""
    bar = edu.region(RegionIndex.BAR0)
    bar.store(0x80, source, 8)
    bar.store(0x88, target, 8)
    bar.store(0x90, size, 8)
    bar.store(0x98, 3 if out else 1, 8)
    return until(lambda: not bar.load(0x98, 8) & 1)


def moves(edu: Device, memory: mmap.mmap) -> bool:
    """Whether the pattern goes from the first page to the device and back to the second."""
    memory[:4096] = bytes(range(256)) * 16
    memory[4096:8192] = bytes(4096)
    ended = transfer(edu, 0x100000, 0x40000, 4096, out=False) and transfer(edu, 0x40000, 0x101000, 4096, out=True)
    return ended and memory[4096:8192] == memory[:4096]


def owner(connection: socket.socket, nic: Address) -> None:
    """The other process: drives and resets what it was handed, maps for it, and ends without closing anything."""
    text, descriptors, _, _ = socket.recv_fds(connection, 65536, 64)
    space = receive(text.decode(), descriptors)
    memory = mmap.mmap(-1, 8192)
    space.map(0x100000, memory)
    edu, card = (next(d for d in space.devices if (d.address == nic) == is_nic) for is_nic in (False, True))
    edu.bus_master(True)
    answers = [edu.region(0).read32(0) == EDU_ID, moves(edu, memory)]
    card.region(0).write32(RDBAL, 0x7000)
    answers.append(card.region(0).read32(RDBAL) == 0x7000)
    card.reset()
    answers.append(card.region(0).read32(RDBAL) == 0)
    space.unmap_all()
    connection.send(bytes(answers))


def handed(space: AddressSpace, nic: Address) -> list[bool]:
    """Hand an address space to another process; return what that could do."""
    here, there = socket.socketpair()
    child = os.fork()
    if not child:
        here.close()
        try:
            owner(there, nic)
        finally:
            os._exit(0)
    there.close()
    sent = export(space)
    socket.send_fds(here, [sent.text.encode()], sent.descriptors)
    answers = [bool(b) for b in here.recv(64)]
    os.waitpid(child, 0)
    here.close()
    return answers


def try_api(api: Api, edu_at: Address, nic_at: Address, nvme_at: Address, bound: Address) -> dict[str, object]:
    """Use one of the kernel's interfaces for all that it is for, and tell what came of each."""
    before = sorted(os.listdir("/proc/self/fd"))
    said: dict[str, object] = {}
    with open_space(api) as space:
        said["ranges before"] = refused(space.iova_ranges)
        edu, nic, nvme = space.open(edu_at), space.open(nic_at), space.open(nvme_at)
        said["ranges"] = [[r.first, r.last] for r in space.iova_ranges()]
        said["alignment"], said["page sizes"], said["left"] = space.alignment, space.page_sizes, space.mappings_left
        said["flags"] = {str(d.address): [int(d.info.flags), d.info.regions, d.info.irqs] for d in space.devices}
        said["regions"] = [[r.index, int(r.flags), r.size, len(r.areas)] for r in nic.regions()]
        said["id"] = edu.region(0).read32(0) == EDU_ID == edu.region(0).map().read32(0)
        edu.region(0).write32(4, 0x12345678)
        said["store"] = edu.region(0).read32(4) == 0x12345678 ^ 0xFFFFFFFF
        said["config"] = nic.config.load(0, 4) == 0x10D38086
        said |= try_dma(space, edu) | try_interrupts(edu, nic) | try_resets(edu, nic)
        said |= try_refusals(api, nic_at, bound)
        nvme.close()
        said["handed"] = handed(space, nic_at)
        nic.region(0).write32(RDBAL, 0x7000)
        said["kept after the owner's end"] = nic.region(0).read32(RDBAL) == 0x7000
    with open_space(api) as space:
        said["reset by closing and opening"] = space.open(nic_at).region(0).read32(RDBAL) == 0
    gc.collect()
    said["left open"] = sorted(set(os.listdir("/proc/self/fd")) - set(before))
    return said


def try_dma(space: AddressSpace, edu: Device) -> dict[str, object]:
    """Map, copy by DMA, and unmap."""
    said: dict[str, object] = {}
    memory = mmap.mmap(-1, 8192)
    mapping = space.map(0x100000, memory)
    edu.bus_master(False)
    said["DMA without bus master"] = moves(edu, memory)
    edu.bus_master(True)
    said["DMA"] = moves(edu, memory)
    said["mapped twice"] = refused(lambda: space.map(0x100000, memory))
    said["mapped in a hole"] = refused(lambda: space.map(0xFEE00000, memory))
    said["mapped askew"] = refused(lambda: space.map(0x800, memory))
    mapping.unmap()
    said["DMA after unmapping"] = moves(edu, memory)
    memory.close()
    return said


def try_interrupts(edu: Device, nic: Device) -> dict[str, object]:
    """Raise interrupts of each kind."""
    said: dict[str, object] = {}
    with edu.event() as event:
        msi = edu.interrupt(IrqIndex.MSI)
        msi.signal([event])
        edu.region(0).write32(0x60, 1)
        said["MSI"] = event.wait(PATIENCE)
        msi.trigger()
        said["MSI by trigger"] = event.wait(PATIENCE)
        msi.disable()
        intx = edu.interrupt(IrqIndex.INTX)
        intx.signal([event])
        edu.region(0).write32(0x60, 1)
        said["INTx"] = event.wait(PATIENCE)
        edu.region(0).write32(0x64, 1)
        intx.mask()
        intx.unmask()
        intx.disable()
    with nic.event() as event:
        said["MSI-X"] = nic.interrupt(IrqIndex.MSIX).info.count
        nic.interrupt(IrqIndex.MSIX).signal([event])
        nic.interrupt(IrqIndex.MSIX).trigger()
        said["MSI-X by trigger"] = event.wait(PATIENCE)
    return said


def try_resets(edu: Device, nic: Device) -> dict[str, object]:
    """Reset a device in each way, and put it to sleep."""
    said: dict[str, object] = {}
    nic.decode(False)
    said["decoding off"] = refused(lambda: nic.region(0).read32(0))
    nic.decode(True)
    nic.region(0).write32(RDBAL, 0x7000)
    kept = nic.region(0).read32(RDBAL) == 0x7000
    nic.reset()
    said["reset"] = kept and nic.region(0).read32(RDBAL) == 0
    said["reset of what has none"] = [edu.info.resets, refused(edu.reset)]
    nic.region(0).write32(RDBAL, 0x7000)
    scope = nic.hot_reset()
    said["hot reset"] = [[str(f.address) for f in scope.functions], nic.region(0).read32(RDBAL) == 0]
    said["hot reset of what has none"] = refused(edu.hot_reset_scope)
    said["features"] = [f.name for f in Feature if nic.supports(f)]
    if nic.supports(Feature.LOW_POWER_ENTRY):
        nic.enter_low_power()
        nic.leave_low_power()
        said["after sleep"] = nic.config.load(0, 4) == 0x10D38086
    return said


def try_refusals(api: Api, nic_at: Address, bound: Address) -> dict[str, object]:
    """Open what is held already, by either interface, what is bound to another driver, and what is not there."""
    said: dict[str, object] = {}
    with open_space(api) as other:
        said["held twice"] = refused(lambda: other.open(nic_at))
        said["not bound"] = refused(lambda: other.open(bound))
        said["not there"] = refused(lambda: other.open(Address.parse("0000:7f:00.0")))
    for crossed in set(interfaces(LiveKernel())) - {api}:
        with open_space(crossed) as other:
            said["held by the other interface"] = refused(partial(other.open, nic_at))
    return said


edu_at, nic_at, nvme_at = device_of("0x1234:0x11e8"), device_of("0x8086:0x10d3"), device_of("0x1b36:0x0010")
nobodys = device_of("0x1b36:0x000c")
for each in (edu_at, nic_at, nvme_at):
    bind(each)
# The first of its methods goes through power management, by which the emulator resets nothing.
(PCI / str(nic_at) / "reset_method").write_text("bus")
for interface in interfaces(LiveKernel()):
    found[interface] = try_api(interface, edu_at, nic_at, nvme_at, nobodys)
    labguest.answer({"found": found, "release": os.uname().release, "nic": str(nic_at), "pid": os.getpid()})
