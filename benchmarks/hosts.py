"""Machines to measure on: as many functions as asked for, of the kinds that servers have, in a folder.

A machine is a number of host bridges, one a PCI domain, filled with slots until there are enough functions: single
endpoints, multifunction devices with and without ACS, network adapters with virtual functions, switches, a bridge
to conventional PCI, root ports with and without ACS. The same size and seed give the same bytes. Functions of
families with NVLink or XGMI are left out: a record without their links makes each pair of them a doubt, and a
thousand of them are no machine that there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from config_image import ConfigImage

__all__ = ["Kind", "Node", "machine"]

PER_DOMAIN = 640
_ROOT_PORT, _UPSTREAM, _DOWNSTREAM, _PCIE_TO_PCI, _ENDPOINT = 4, 5, 6, 7, 0
_ACS_OF_PORT = 0x005F
_ACS_CONTROL = 0x001D
_WIDE, _NARROW, _MIB = 16 << 20, 64 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """What a function is sold as."""

    ids: tuple[int, int]
    class_code: int
    driver: str


NVME = Kind((0x144D, 0xA80A), 0x010802, "nvme")
NETWORK = Kind((0x15B3, 0x101D), 0x020000, "mlx5_core")
VIRTUAL = Kind((0x15B3, 0x101E), 0x020000, "mlx5_core")
ACCELERATOR = Kind((0x1DA3, 0x1020), 0x120000, "habanalabs")
GRAPHICS = Kind((0x1002, 0x73BF), 0x030000, "amdgpu")
AUDIO = Kind((0x1002, 0xAB28), 0x040300, "snd_hda_intel")
USB = Kind((0x1002, 0x73A6), 0x0C0330, "xhci_hcd")
UCSI = Kind((0x1002, 0x73A4), 0x0C8000, "i2c-designware-pci")
SERIAL = Kind((0x9710, 0x9835), 0x070002, "serial")
CHIPSET = Kind((0x8086, 0xA1C1), 0x060100, "")
ROOT_PORT = Kind((0x8086, 0x347A), 0x060400, "pcieport")
PLAIN_PORT = Kind((0x1B36, 0x000C), 0x060400, "pcieport")
SWITCH = Kind((0x1000, 0xC010), 0x060400, "pcieport")
TO_PCI = Kind((0x10B5, 0x8112), 0x060400, "")


@dataclass(slots=True, eq=False)
class Node:
    """One function of a generated machine."""

    domain: int
    bus: int
    device: int
    function: int
    kind: Kind
    parent: Node | None
    port_type: int | None
    """None: conventional PCI."""
    acs: bool
    multifunction: bool
    secondary: int = 0
    subordinate: int = 0
    narrow: tuple[int, int] = (0, 0)
    """BAR 2, or a bridge's memory window: start and end inclusive."""
    wide: tuple[int, int] = (0, 0)
    """BAR 0, or a bridge's prefetchable window."""
    physical: Node | None = None
    virtual: list[Node] = field(default_factory=list)
    group: int = -1

    @property
    def address(self) -> str:
        """As in sysfs."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function:x}"

    @property
    def folder(self) -> str:
        """Below the root of the tree."""
        above = f"sys/devices/pci{self.domain:04x}:00" if self.parent is None else self.parent.folder
        return f"{above}/{self.address}"

    @property
    def is_bridge(self) -> bool:
        """Whether buses hang below it."""
        return self.secondary > 0

    @property
    def isolating(self) -> bool:
        """Whether Linux takes it as isolated from its neighbours (``pci_acs_enabled``, drivers/pci/pci.c)."""
        if self.port_type in (None, _PCIE_TO_PCI):
            return False
        if self.port_type in (_ROOT_PORT, _DOWNSTREAM):
            return self.acs
        return self.acs or not self.multifunction or self.physical is not None

    def image(self) -> bytes:
        """Return its configuration space."""
        config = ConfigImage(
            (0xFFFF, 0xFFFF) if self.physical else self.kind.ids,
            self.kind.class_code,
            header=1 if self.is_bridge else 0,
            multifunction=self.multifunction,
        )
        if self.is_bridge:
            config.bridge((self.bus, self.secondary, self.subordinate), self.narrow, self.wide)
        else:
            wide, narrow = (0, 0) if self.physical else (self.wide[0], self.narrow[0])
            config.endpoint((self.kind.ids[0], 0x0001), wide, narrow)
        if self.port_type is None:
            config.conventional()
            return bytes(config.data)
        config.express(self.port_type, port=self.device, ari_forwarding=self.is_bridge)
        self._extended(config)
        return bytes(config.data)

    def _extended(self, config: ConfigImage) -> None:
        serial = self.bus << 16 | self.device << 8 | self.function
        config.extended(0x01, [0, 0, 0x0046_2030, 0, 0x2000, 0xA0, 0, 0, 0, 0], version=2)
        if self.physical is None and not self.is_bridge:
            config.extended(0x03, [0xFF00_0000 | serial, 0x0002_C903])
            config.extended(0x19, [0, 0, 0, 0])
            config.extended(0x18, [0x1003_1003])
        if self.virtual or self.physical:
            config.extended(0x0E, [0x0000_0100])
        if self.acs:
            bits = _ACS_OF_PORT | _ACS_CONTROL << 16 if self.is_bridge else 0
            config.extended(0x0D, [bits])
        if self.kind in (ACCELERATOR, NETWORK, VIRTUAL):
            config.extended(0x0F, [0x0000_0060])
        if self.virtual:
            count = len(self.virtual)
            words = [0x2, 0x0000_0019, count << 16 | count, count, 0x0001_0001, self.virtual[0].kind.ids[1] << 16]
            bar = [self.wide[0] & 0xFFFF_FFF0 | 0xC, self.wide[0] >> 32, 0, 0, 0, 0]
            config.extended(0x10, [*words, 0x553, 0x1, *bar, 0])
        if self.is_bridge:
            config.extended(0x1E, [0x0028_281F, 0, 0])


class _Domain:
    """One host bridge while it is filled: the next bus, the next addresses, how many functions may still come."""

    def __init__(self, number: int, room: int, random: Random) -> None:
        self.number, self.room, self.random = number, room, random
        self.nodes: list[Node] = []
        self._bus = 0
        self._narrow = 0x8000_0000
        self._wide = 0x100_0000_0000 + (number << 36)

    def fill(self) -> None:
        self._chipset()
        slots = [self._endpoint, self._network, self._virtual, self._switch, self._graphics]
        weights = [4, 3, 3, 2, 1]
        for place in range(29 * 8):
            if not self.room or self._bus > 0xC0:
                break
            device, function = divmod(place, 8)
            plain = device == 2
            kind = PLAIN_PORT if plain else ROOT_PORT
            port = self._port(None, (0, device + 1, function), kind, _ROOT_PORT, acs=not plain, many=True)
            if place == 20:
                self._conventional(port)
            elif self.room:
                self.random.choices(slots, weights)[0](port)
            self._close(port)

    def _add(self, node: Node) -> Node:
        self.nodes.append(node)
        self.room -= 1
        return node

    def _chipset(self) -> None:
        for function in range(min(5, self.room)):
            self._add(Node(self.number, 0, 31, function, CHIPSET, None, None, acs=False, multifunction=True))

    def _port(
        self,
        parent: Node | None,
        at: tuple[int, int, int],
        kind: Kind,
        port_type: int,
        *,
        acs: bool,
        many: bool = False,
    ) -> Node:
        node = self._add(Node(self.number, *at, kind, parent, port_type, acs, many))
        self._bus += 1
        node.secondary = self._bus
        self._align()
        node.narrow, node.wide = (self._narrow, 0), (self._wide, 0)
        return node

    def _close(self, port: Node) -> None:
        """Everything below a port is there: its windows and its last bus are known."""
        self._narrow, self._wide = max(self._narrow, port.narrow[0] + 1), max(self._wide, port.wide[0] + 1)
        self._align()
        port.subordinate = self._bus
        port.narrow, port.wide = (port.narrow[0], self._narrow - 1), (port.wide[0], self._wide - 1)

    def _align(self) -> None:
        self._narrow, self._wide = -(-self._narrow // _MIB) * _MIB, -(-self._wide // _MIB) * _MIB

    def _leaf(
        self, port: Node, kind: Kind, *, device: int = 0, function: int = 0, acs: bool = False, many: bool = False
    ) -> Node:
        conventional = port.port_type == _PCIE_TO_PCI
        node = Node(self.number, port.secondary, device, function, kind, port, None, acs=acs, multifunction=many)
        node.port_type = None if conventional else _ENDPOINT
        node.narrow = (self._narrow, self._narrow + _NARROW - 1)
        node.wide = (self._wide, self._wide + _WIDE - 1)
        self._narrow += _NARROW
        self._wide += _WIDE
        return self._add(node)

    def _endpoint(self, port: Node) -> None:
        self._leaf(port, self.random.choice((NVME, ACCELERATOR)))

    def _network(self, port: Node) -> None:
        for function in range(min(self.random.choice((2, 4)), self.room)):
            self._leaf(port, NETWORK, function=function, acs=True, many=True)

    def _graphics(self, port: Node) -> None:
        for function, kind in enumerate((GRAPHICS, AUDIO, USB, UCSI)[: self.room]):
            self._leaf(port, kind, function=function, many=True)

    def _virtual(self, port: Node) -> None:
        physical = self._leaf(port, NETWORK)
        for index in range(min(self.random.choice((8, 16, 32)), self.room)):
            device, function = divmod(index + 1, 8)
            node = self._leaf(port, VIRTUAL, device=device, function=function)
            node.physical = physical
            physical.virtual.append(node)

    def _switch(self, port: Node) -> None:
        upstream = self._port(port, (port.secondary, 0, 0), SWITCH, _UPSTREAM, acs=False)
        with_acs = self.random.random() < 0.8
        for device in range(self.random.choice((4, 8))):
            if self.room < 2:
                break
            below = self._port(upstream, (upstream.secondary, device, 0), SWITCH, _DOWNSTREAM, acs=with_acs)
            self._leaf(below, self.random.choice((NVME, ACCELERATOR)))
            self._close(below)
        self._close(upstream)

    def _conventional(self, port: Node) -> None:
        if self.room < 3:
            return
        bridge = self._port(port, (port.secondary, 0, 0), TO_PCI, _PCIE_TO_PCI, acs=False)
        for device in range(2):
            self._leaf(bridge, SERIAL, device=device)
        self._close(bridge)


def machine(size: int, seed: int = 1) -> list[Node]:
    """Return the functions of a machine, ports above what is below them, each with the group that Linux gives it."""
    random = Random(f"{size}:{seed}")
    nodes: list[Node] = []
    number = 0
    while len(nodes) < size:
        domain = _Domain(number, min(PER_DOMAIN, size - len(nodes)), random)
        domain.fill()
        nodes += domain.nodes
        number += 1
    _form_groups(nodes)
    return nodes


def _form_groups(nodes: list[Node]) -> None:
    """Number the groups: ``pci_device_group`` in Linux drivers/iommu/iommu.c, for what stands in these machines."""
    slots: dict[tuple[int, int, int], int] = {}
    formed = 0
    for node in nodes:
        above = node.parent
        slot = node.domain, node.bus, node.device
        if above is not None and (above.port_type == _PCIE_TO_PCI or not _isolated(above)):
            node.group = above.group
        elif node.multifunction and not node.isolating and slot in slots:
            node.group = slots[slot]
        else:
            node.group, formed = formed, formed + 1
        if node.multifunction and not node.isolating:
            slots.setdefault(slot, node.group)


def _isolated(bridge: Node | None) -> bool:
    while bridge is not None:
        if not bridge.isolating:
            return False
        bridge = bridge.parent
    return True
