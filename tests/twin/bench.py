"""Short ways to a twin and its parts."""

from __future__ import annotations

from atoll.pci.address import Address
from atoll.twin import Twin

at = Address.parse

DISABLE = 0xA00148
ALL_PEERS = 0x150000
"""The links of a Redbud GPU that lead to its neighbour."""


def cut(twin: Twin, gpu: Address, mask: int = ALL_PEERS) -> None:
    """Cut links by the documented sequence, through plain register stores."""
    twin.poke(gpu, "bar0", 0x12004C, 0x4)
    twin.poke(gpu, "bar0", 0x122204, 0x2)
    twin.poke(gpu, "bar0", 0x000200, twin.peek(gpu, "bar0", 0x000200) | 0x02000000)
    twin.poke(gpu, "bar0", DISABLE, twin.peek(gpu, "bar0", DISABLE) | mask)


def sysfs(address: Address, name: str) -> str:
    """The path of a device's attribute."""
    return f"sys/bus/pci/devices/{address}/{name}"


def text(twin: Twin, path: str) -> str:
    """A file's content without the end of the line."""
    return twin.read(path).decode().rstrip("\n")


def give(twin: Twin, *addresses: Address) -> None:
    """Bind devices to vfio-pci, as everyone does it."""
    for address in addresses:
        twin.write(sysfs(address, "driver_override"), b"vfio-pci\n")
        if "driver" in twin.list(f"sys/bus/pci/devices/{address}"):
            twin.write(sysfs(address, "driver/unbind"), str(address).encode())
        twin.write("sys/bus/pci/drivers_probe", str(address).encode())


def acs_offset(twin: Twin, address: Address) -> int:
    """Where the ACS capability stands, by walking the extended capabilities."""
    offset = 0x100
    while offset:
        head = twin.peek(address, "config", offset)
        if head & 0xFFFF == 0x000D:
            return offset
        offset = head >> 20
    raise LookupError(f"{address} has no ACS")


def set_acs(twin: Twin, address: Address, flags: int) -> None:
    """Write the ACS control word."""
    twin.poke(address, "config", acs_offset(twin, address) + 4, flags << 16)


def get_acs(twin: Twin, address: Address) -> int:
    """Read the ACS control word."""
    return twin.peek(address, "config", acs_offset(twin, address) + 4) >> 16


def set_command(twin: Twin, address: Address, *, on: int = 0, off: int = 0) -> None:
    """Switch bits of the command register."""
    now = twin.peek(address, "config", 4) & 0xFFFF
    twin.poke(address, "config", 4, now & ~off | on)
