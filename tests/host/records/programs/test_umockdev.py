"""Recordings of umockdev: hand-made in its form."""

from __future__ import annotations

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.host.records.content import read_record
from atoll.isolation.groups import predict
from atoll.pci.acs import AcsFlag
from atoll.pci.header import PortType
from host.records.paste import at

PORT = at("00:01.0")
CONTROL = AcsFlag.SV | AcsFlag.RR
ENDPOINT = (
    "de10b11d0604100000020003000000000000000000000000000000000000000000000000de1012120000000000000000000000000b010000"
)


def port_space() -> str:
    """A root port with Express at 40 and ACS at 100, of which two bits are on."""
    space = bytearray(4096)
    space[:16] = bytes.fromhex("86800119070410000500040600008100")
    space[0x18:0x1B] = bytes((0, 1, 1))
    space[0x34] = 0x40
    space[0x40:0x44] = bytes((0x10, 0, 0x42, 0))
    space[0x100:0x108] = (0x000D | 1 << 16).to_bytes(4, "little") + bytes((0x1D, 0, int(CONTROL), 0))
    return space.hex().upper()


RECORDING = f"""\
P: /devices/pci0000:00/0000:00:01.0
E: DRIVER=pcieport
E: PCI_CLASS=60400
E: PCI_ID=8086:1901
E: PCI_SLOT_NAME=0000:00:01.0
E: SUBSYSTEM=pci
A: class=0x060400
H: config={port_space()}
L: iommu_group=../../../kernel/iommu_groups/1
A: vendor=0x8086

P: /devices/pci0000:00/0000:00:01.0/0000:01:00.0
E: DRIVER=vfio-pci
E: PCI_CLASS=30000
E: PCI_ID=10DE:1DB1
E: PCI_SLOT_NAME=0000:01:00.0
E: SUBSYSTEM=pci
A: ari_enabled=0
H: config={ENDPOINT.upper()}
L: driver=../../../../bus/pci/drivers/vfio-pci
L: iommu_group=../../../../kernel/iommu_groups/1
A: resource=0x00000000de000000 0x00000000deffffff 0x0000000000040200\\n0x0 0x0 0x0\\n

P: /devices/pci0000:00/0000:00:14.0
E: DRIVER=xhci_hcd
E: PCI_CLASS=C0330
E: PCI_ID=8086:9CB1
E: PCI_SLOT_NAME=0000:00:14.0
E: SUBSYSTEM=pci
A: class=0x0c0330
"""


def read(text: str) -> Host:
    host = read_record(text.encode(), name="laptop.umockdev").host
    assert host is not None
    return host


def test_configuration_space_groups_and_drivers_are_read() -> None:
    host = read(RECORDING)
    assert host.name == "laptop.umockdev"
    port, gpu, usb = host.functions[PORT], host.functions[at("01:00.0")], host.functions[at("00:14.0")]
    assert value_of(port.port_type, None) is PortType.ROOT_PORT
    assert isinstance(port.acs, Known)
    assert port.acs.value is not None
    assert port.acs.value.control == CONTROL
    assert (gpu.vendor, gpu.device, value_of(gpu.driver, None)) == (0x10DE, 0x1DB1, "vfio-pci")
    assert gpu.parent == PORT
    assert value_of(gpu.ari, None) is False
    assert isinstance(gpu.port_type, Unknown)
    assert [bar.start for bar in value_of(gpu.bars, ())] == [0xDE000000]
    assert (usb.vendor, value_of(usb.driver, None)) == (0x8086, "xhci_hcd")
    assert isinstance(usb.acs, Unknown)
    groups = value_of(host.groups, {})
    assert {number: group.members for number, group in groups.items()} == {1: (PORT, at("01:00.0"))}
    assert host.excerpt, "others may stand beside what somebody recorded"
    assert at("00:14.0") in dict(predict(host).undetermined)


def test_what_is_damaged_or_leads_elsewhere_is_left_out() -> None:
    text = RECORDING.replace("H: config=8680", "H: config=zz80", 1).replace(
        "A: ari_enabled=0", "A: ../../0000:00:01.0/vendor=0x1022\nA: power=on\nA: power/control=auto\nL: ../x=/etc"
    )
    host = read(text + "\nP: /devices/../../etc\nA: vendor=0x1022\n")
    port = host.functions[PORT]
    assert (port.vendor, port.device) == (0x8086, 0x1901)
    assert isinstance(port.acs, Unknown)


def test_quoted_and_beside_other_outputs() -> None:
    quoted = "".join(f"> {line}\n" for line in RECORDING.splitlines())
    host = read(f"On Monday, somebody wrote:\n{quoted}\n02:00.0 Ethernet controller [0200]: X [8086:1521]\n")
    assert isinstance(host.functions[PORT].acs, Known)
    assert at("02:00.0") in host.functions


def test_what_two_recordings_tell_differently_is_unknown() -> None:
    space = port_space()
    later = RECORDING.replace(space, f"{space[:524]}00{space[526:]}").replace(
        "iommu_groups/1\nA: res", "iommu_groups/2\nA: res"
    )
    for text in (f"{RECORDING}\n{later}", f"{later}\n{RECORDING}"):
        host = read(text)
        assert isinstance(host.functions[PORT].acs, Unknown)
        assert isinstance(host.functions[at("01:00.0")].group, Unknown)
        assert value_of(host.functions[PORT].group, None) == 1
