"""The devices QEMU has for what a blueprint asks for, with the ids that a kernel sees.

Source: QEMU 11.1 (``hw/pci-bridge``, ``hw/net``, ``hw/nvme``, ``hw/misc``); which of its ports have an ACS capability
was read from their configuration space: ``pcie-root-port`` has one, ``ioh3420``, ``x3130-upstream`` and
``xio3130-downstream`` have none.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.pci.acs import AcsFlag
from atoll.pci.header import PortType
from atoll.twin.spec import FunctionSpec

__all__ = ["DEVICES", "PORT_ACS", "QemuDevice", "choose"]

PORT_ACS = AcsFlag.SV | AcsFlag.TB | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF | AcsFlag.DT
"""What ``pcie-root-port`` implements (capability word 0x5f)."""


@dataclass(frozen=True, slots=True)
class QemuDevice:
    """A kind of device that QEMU emulates."""

    driver: str
    """The name that ``-device`` takes."""
    ids: tuple[int, int]
    """Vendor and device, as the kernel sees them."""
    class_code: int
    port: PortType
    """On a PCI Express bus that is no root bus."""
    properties: tuple[tuple[str, object], ...] = ()
    acs: AcsFlag | None = None
    flr: bool = False
    pm_reset: bool = False
    """Comes back from D3hot as after a reset."""
    vf_total: int = 0
    """The most that it can have."""
    vf_always: bool = False
    """It has all of them, asked for or not."""
    vf_offset: int = 0
    """From the physical function's routing id to that of the first virtual function."""
    vf_stride: int = 0

    @property
    def integrated(self) -> PortType:
        """What it is on a root bus."""
        return PortType.ROOT_INTEGRATED if self.port is PortType.ENDPOINT else self.port

    def last_vf(self, place: int, count: int) -> int:
        """Return the last of ``count`` virtual functions' device and function as one byte; over 0xff is no place."""
        return place + self.vf_offset + self.vf_stride * (count - 1)


_BRIDGE = 0x060400
_NO_ROM = (("romfile", ""),)
"""Firmware would run each adapter's network boot code."""

DEVICES = {
    device.driver: device
    for device in (
        # Without the speed a port would have a link-active bit that QEMU never sets: the kernel gives up on a reset.
        QemuDevice("pcie-root-port", (0x1B36, 0x000C), _BRIDGE, PortType.ROOT_PORT, (("x-speed", "5"),), acs=PORT_ACS),
        QemuDevice("ioh3420", (0x8086, 0x3420), _BRIDGE, PortType.ROOT_PORT),
        QemuDevice("x3130-upstream", (0x104C, 0x8232), _BRIDGE, PortType.UPSTREAM),
        QemuDevice("xio3130-downstream", (0x104C, 0x8233), _BRIDGE, PortType.DOWNSTREAM),
        QemuDevice("pcie-pci-bridge", (0x1B36, 0x000E), _BRIDGE, PortType.PCIE_TO_PCI),
        QemuDevice("i82801b11-bridge", (0x8086, 0x244E), _BRIDGE | 1, PortType.CONVENTIONAL),
        QemuDevice("pci-bridge", (0x1B36, 0x0001), _BRIDGE, PortType.CONVENTIONAL, (("shpc", False),)),
        QemuDevice("e1000e", (0x8086, 0x10D3), 0x020000, PortType.ENDPOINT, _NO_ROM, pm_reset=True),
        QemuDevice(
            "nvme", (0x1B36, 0x0010), 0x010802, PortType.ENDPOINT, flr=True, vf_total=7, vf_offset=1, vf_stride=1
        ),
        QemuDevice(
            "igb",
            (0x8086, 0x10C9),
            0x020000,
            PortType.ENDPOINT,
            _NO_ROM,
            flr=True,
            pm_reset=True,
            vf_total=8,
            vf_always=True,
            vf_offset=0x80,
            vf_stride=2,
        ),
        QemuDevice("qemu-xhci", (0x1B36, 0x000D), 0x0C0330, PortType.ENDPOINT),
        QemuDevice("e1000", (0x8086, 0x100E), 0x020000, PortType.CONVENTIONAL, _NO_ROM),
        QemuDevice("edu", (0x1234, 0x11E8), 0x00FF00, PortType.CONVENTIONAL),
    )
}
"""Each by the name that ``-device`` takes. Virtual functions: ``IGB_VF_OFFSET`` and ``IGB_VF_STRIDE``,
``NVME_VF_OFFSET`` and ``NVME_VF_STRIDE``; an nvme has as many as it is told to, seven at most stand in its slot."""

_NETWORK, _STORAGE, _USB = 0x02, 0x01, 0x0C
_PORTS = {
    PortType.UPSTREAM: "x3130-upstream",
    PortType.DOWNSTREAM: "xio3130-downstream",
    PortType.PCIE_TO_PCI: "pcie-pci-bridge",
    PortType.CONVENTIONAL: "i82801b11-bridge",
}


def choose(spec: FunctionSpec, *, conventional: bool) -> QemuDevice | None:
    """Return the device for a function: the very one where QEMU has it, else one that stands in for it.

    ``conventional`` is whether its bus is conventional PCI. None where QEMU has nothing like it.
    """
    for device in DEVICES.values():
        if device.ids == (spec.vendor, spec.device) and (device.port is PortType.CONVENTIONAL or not conventional):
            return device
    if spec.port is PortType.ROOT_PORT:
        return DEVICES["pcie-root-port" if spec.acs is not None else "ioh3420"]
    if spec.is_bridge:
        return DEVICES[_PORTS[spec.port]] if spec.port in _PORTS else None
    if spec.port is PortType.EVENT_COLLECTOR:
        return None
    kind = spec.class_code >> 16
    if conventional or spec.port is PortType.CONVENTIONAL:
        return DEVICES["e1000" if kind == _NETWORK else "edu"]
    if spec.vf_total:
        return DEVICES["igb"]
    return DEVICES[{_STORAGE: "nvme", _USB: "qemu-xhci"}.get(kind, "e1000e")]
