"""Where functions of a pasted text stand."""

from __future__ import annotations

import pytest

from atoll.isolation.groups import predict
from atoll.pci.address import Address
from host.records.paste import host_of

PORT = """\
00:00.0 Host bridge [0600]: Intel Corporation 82G33/G31/P35/P31 Express DRAM Controller [8086:29c0]
	Control: I/O+ Mem+ BusMaster- SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR+ FastB2B- DisINTx-

00:05.0 PCI bridge [0604]: Red Hat, Inc. QEMU PCIe Root port [1b36:000c] (prog-if 00 [Normal decode])
	Bus: primary=00, secondary=05, subordinate=06, sec-latency=0
	Capabilities: [54] Express (v2) Root Port (Slot+), MSI 00
	Capabilities: [148 v1] Access Control Services
		ACSCap:	SrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
		ACSCtl:	SrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-

"""
CONVENTIONAL = """\
{address} Ethernet controller [0200]: Intel Corporation 82540EM Gigabit Ethernet Controller [8086:100e] (rev 03)
	Control: I/O+ Mem+ BusMaster- SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR+ FastB2B- DisINTx-
	Status: Cap- 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-

"""
BOTH = Address(0, 6, 1, 0), Address(0, 6, 2, 0)


def test_a_bus_within_a_bridge_that_no_bridge_leads_to_has_one_above_that_is_not_shown() -> None:
    """A conventional bus, which elsewhere may be a root bus: its functions share the id of the bridge left out."""
    host = host_of(PORT + "".join(CONVENTIONAL.format(address=f"06:0{device}.0") for device in (1, 2)))
    assert all(host.is_loose(host.functions[address]) for address in BOTH)
    prediction = predict(host)
    assert all("above bus 0000:06" in prediction.open_about(address) for address in BOTH)


def test_a_conventional_bus_within_no_bridge_is_a_root_bus() -> None:
    host = host_of(PORT + "".join(CONVENTIONAL.format(address=f"07:0{device}.0") for device in (1, 2)))
    assert not any(host.is_loose(function) for function in host.functions.values())


def test_lines_of_a_function_without_its_first_may_be_of_the_bridge_above() -> None:
    """A heading that is cut leaves its lines to nobody, and the buses below it without a bridge."""
    control = (
        "\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+\n"
    )
    heading = "00:06.0 PCI bridge [0604]: Red Hat, Inc. QEMU PCIe Root port [1b36:000c] (prog-if 00 [Normal decode])\n"
    below = f"{control}\tBus: primary=00, secondary=07, subordinate=07, sec-latency=0\n\n"
    for first, loose in ((heading, False), ("00:06.0 PCI br\n", True)):
        host = host_of(PORT + first + below + CONVENTIONAL.format(address="07:01.0"))
        assert host.is_loose(host.functions[Address(0, 7, 1, 0)]) is loose


CARD = """\
00:05.0/{place} Ethernet controller [0200]: Intel Corporation 82576 Gigabit Network Connection [8086:10c9] (rev 01)
	Control: I/O- Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-
	Capabilities: [a0] Express (v2) Endpoint, MSI 00
	Capabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)
		IOVCtl:	Enable+ Migration- Interrupt- MSE+ ARIHierarchy-
		Initial VFs: 8, Total VFs: 8, Number of VFs: 2, Function Dependency Link: 0{place}
		VF offset: {offset}, stride: {stride}, Device ID: 10ca

"""
VIRTUAL = """\
00:05.0/{place} Ethernet controller [0200]: Intel Corporation 82576 Virtual Function [8086:10ca] (rev 01)
	Control: I/O- Mem- BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-
	Capabilities: [a0] Express (v2) Endpoint, MSI 00

"""


@pytest.mark.parametrize(
    ("offset", "stride", "places"),
    [
        (384, 2, ("10.0", "10.1", "10.2", "10.3")),  # 82576
        (128, 2, ("10.0", "10.1", "10.2", "10.3")),
        (256, 2, ("00.0", "00.1", "00.2", "00.3")),
        (256, 1, ("00.0", "00.1", "00.1", "00.2")),
    ],
)
def test_virtual_functions_past_their_bus_have_its_number_in_paths_without_numbers(
    offset: int, stride: int, places: tuple[str, ...]
) -> None:
    """lspci -P: one bridge stands above both buses, and the path numbers neither."""
    cards = "".join(CARD.format(place=place, offset=offset, stride=stride) for place in ("00.0", "00.1"))
    bus = "05" if offset < 256 else "06"
    virtual = sorted({f"{bus}:{place}" for place in places})
    text = PORT + cards + "".join(VIRTUAL.format(place=place[3:]) for place in virtual)
    host = host_of(text)
    there = {str(address)[5:] for address in host.functions if address.bus > 4}
    assert there == {"05:00.0", "05:00.1", *virtual}
    assert all(host.functions[Address.parse(f"0000:{p}")].physical_function is not None for p in virtual)


def test_a_physical_function_listed_once_more_is_none_of_its_virtual_ones() -> None:
    """lspci -P below lspci -Pvvv."""
    card, virtual = CARD.format(place="00.0", offset=256, stride=2), VIRTUAL.format(place="00.0")
    listed = f"{card.splitlines()[0]}\n{virtual.splitlines()[0]}\n"
    host = host_of(PORT + card + listed)
    ids = {str(address)[5:]: (f.vendor, f.device) for address, f in host.functions.items() if address.bus > 4}
    assert ids == {"05:00.0": (0x8086, 0x10C9), "06:00.0": (0x8086, 0x10CA)}


@pytest.mark.parametrize(("told", "whole"), [("secondary=05", True), ("secondary=00", False)])
def test_what_stands_on_a_bus_that_a_path_does_not_number_is_not_shown(told: str, whole: bool) -> None:
    """lspci -P of a bridge that does not answer: what is below may be in the groups of others."""
    host = host_of(PORT.replace("secondary=05", told) + CONVENTIONAL.format(address="00:05.0/00.0"))
    assert (len(host.functions), host.excerpt) == ((3, False) if whole else (2, True))
    assert [gap.what for gap in host.gaps if "without bus numbers" in gap.why] == ([] if whole else ["1 function"])
