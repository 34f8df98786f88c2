"""What ``lspci -v…-vvv`` prints, and what it does not tell."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.records.multifunction import ALONE, SHARED
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.bar import Bar
from atoll.pci.bridge import Window
from atoll.pci.config import NO_ANSWER
from atoll.pci.header import Command, HeaderType, PortType
from atoll.pci.multicast import Multicast
from atoll.pci.sriov import Sriov
from atoll.report.names import Names
from atoll.report.show import show_lines
from atoll.report.style import PLAIN
from host.records.paste import PORT, at, host_of, lspci, one

_FLAGS = "SrcValid{} TransBlk{} ReqRedir{} CmpltRedir{} UpstreamFwd{} EgressCtrl- DirectTrans-"


def _root_port(acs: str, ids: str = " [8086:a340]", name: str = "Intel Corporation Device") -> str:
    return lspci(
        "Control: I/O- Mem+ BusMaster+ DisINTx-",
        "Bus: primary=00, secondary=01, subordinate=01, sec-latency=0",
        "Capabilities: [a0] Express (v2) Root Port (Slot+), MSI 00",
        acs,
        heading=f"00:01.0 PCI bridge [0604]: {name}{ids}",
    )


def _acs(sign: str) -> str:
    capability, control = _FLAGS.format(*"+++++"), _FLAGS.format(*[sign] * 5)
    return f"Capabilities: [140 v1] Access Control Services\n\t\tACSCap: {capability}\n\t\tACSCtl: {control}"


def test_a_port_and_a_function_below_it() -> None:
    host = host_of(PORT)
    port, gpu = host.functions.values()
    assert (port.vendor, port.device, port.class_code) == (0x8086, 0x1901, 0x060400)
    assert port.port_type == Known(PortType.ROOT_PORT, "paste line 1")
    assert isinstance(port.acs, Known)
    assert port.acs.value is not None
    assert port.acs.value.control == REDIRECTING
    assert port.acs.value.capability == REDIRECTING | AcsFlag.TB
    assert (port.acs.value.offset, port.acs.value.control_offset) == (0x140, 0x146)
    assert isinstance(port.bridge, Known)
    assert port.bridge.value is not None
    assert port.bridge.value.windows == (
        Window(0xE000, 0xEFFF, memory=False),
        Window(0xDE000000, 0xDF0FFFFF, memory=True),
        Window(0xC0000000, 0xD1FFFFFF, memory=True, prefetchable=True),
    )
    assert isinstance(port.port_number, Known)
    assert port.port_number.value == 2
    assert (gpu.parent, gpu.host_bridge, gpu.parent_told) == (port.address, "pci0000:00", True)
    assert isinstance(gpu.ari, Known)
    assert gpu.ari.value is True
    assert isinstance(gpu.command, Known)
    assert gpu.command.value == Command.IO | Command.MEMORY
    assert isinstance(gpu.bars, Known)
    assert gpu.bars.value == (
        Bar(0, 0xDE000000, 16 << 20, memory=True),
        Bar(1, 0xC0000000, 256 << 20, memory=True, prefetchable=True),
        Bar(5, 0xE000, 128, memory=False),
    )
    for fact, value in (
        (gpu.flr, True),
        (gpu.pending, True),
        (gpu.power_state, "D3hot"),
        (gpu.subsystem, (0x1462, 0x3362)),
        (gpu.revision, 0xA1),
        (gpu.driver, None),
        (gpu.group, 2),
        (gpu.acs, None),
    ):
        assert isinstance(fact, Known)
        assert fact.value == value
    assert isinstance(gpu.ats, Known)
    assert gpu.ats.value is not None
    assert gpu.ats.value.enabled


@pytest.mark.parametrize(
    ("heading", "ids", "class_code"),
    [
        ("00:01.0 0604: 8086:a340 (rev f0) (prog-if 00 [Normal decode])", (0x8086, 0xA340), 0x060400),
        ("00:01.0 Class 0604: 8086:a340", (0x8086, 0xA340), 0x060400),
        ("00:01.0 Class 0604: Device 8086:a340 (rev 01)", (0x8086, 0xA340), 0x060400),
        ("00:01.0 PCI bridge: Intel Corporation Device a340 (rev f0)", (0x8086, 0xA340), 0x060400),
        ("00:01.0 PCI bridge: Intel Corporation Unknown device a340", (0x8086, 0xA340), 0x060400),
        ("00:01.0 PCI bridge: Intel Corp.: Unknown device a340 (rev 04)", (0x8086, 0xA340), 0x060400),
        ("00:01.0 PCI bridge: Unknown device 8086:a340 (rev 04)", (0x8086, 0xA340), 0x060400),
        ("00:01.0 USB controller [0c03]: X [1b21:1242] (prog-if 30 [XHCI])", (0x1B21, 0x1242), 0x0C0330),
        ("00:01.0 Unassigned class [ff00]: Intel Corporation Device 0d93", (0x8086, 0x0D93), 0xFF0000),
        ("00:01.0 Ethernet controller: Intel Corporation 82599ES 10-Gigabit SFI/SFP+ Network Connection (rev 01)",
         (0x8086, 0x10FB), 0x020000),
    ],
)  # fmt: skip
def test_headings(heading: str, ids: tuple[int, int], class_code: int) -> None:
    function = one(heading)
    assert (function.vendor, function.device) == ids
    assert function.ids_told
    assert function.class_code == class_code


def test_names_without_numbers_are_no_ids() -> None:
    function = one(lspci("Flags: fast devsel", heading="00:01.0 Ethernet controller: Intel Corporation No Such Thing"))
    assert function.possible_ids == ((0x8086, None),)
    assert (function.vendor, function.device) == (0xFFFF, 0xFFFF)
    assert function.label == "Intel Corporation No Such Thing"
    nobody = one("00:01.0 Ethernet controller: Nobody Ever Device")
    assert nobody.possible_ids == ((None, None),)


def test_access_denied_is_unknown() -> None:
    function = one(lspci("Flags: bus master, fast devsel", "Bus: primary=00, secondary=01, subordinate=01",
                         "Capabilities: <access denied>", "Kernel driver in use: pcieport"))  # fmt: skip
    for fact in (function.acs, function.port_type, function.ats, function.flr, function.sriov):
        assert isinstance(fact, Unknown)
        assert "access denied" in fact.reason
    assert isinstance(function.driver, Known)


def test_acs_named_without_bits_is_unknown() -> None:
    function = one(_root_port("Capabilities: [140] Access Control Services"))
    assert isinstance(function.acs, Unknown)
    assert "without its bits" in function.acs.reason


def test_acs_with_words_missing_is_unknown() -> None:
    text = _root_port(_acs("+")).replace("UpstreamFwd+ EgressCtrl- DirectTrans-", "")
    assert isinstance(one(text).acs, Unknown)


@pytest.mark.parametrize(
    ("sign", "ids", "name", "known"),
    [
        ("-", " [8086:a340]", "Intel Corporation Device", True),
        ("-", " [8086:a110]", "Intel Corporation Device", False),
        ("-", " [8086:9d18]", "Intel Corporation Device", False),
        ("-", "", "Intel Corporation Sunrise Point-LP PCI Express Root Port #1", False),
        ("-", "", "Intel Corporation Some New Root Port #1", False),
        ("+", "", "Intel Corporation Some New Root Port #1", True),
        ("-", "", "Advanced Micro Devices, Inc. [AMD] Some New GPP Bridge", True),
    ],
)
def test_control_that_lspci_misreads_is_unknown(sign: str, ids: str, name: str, known: bool) -> None:
    assert isinstance(one(_root_port(_acs(sign), ids, name)).acs, Known) is known


def test_no_extended_capability_anywhere_says_nothing_about_acs() -> None:
    function = one(lspci("Control: Mem+ I/O- BusMaster+", "Bus: primary=00, secondary=01, subordinate=01",
                         "Capabilities: [a0] Express (v2) Root Port (Slot+)"))  # fmt: skip
    assert isinstance(function.acs, Unknown)


def test_a_function_that_did_not_answer_tells_nothing() -> None:
    function = one(lspci("!!! Unknown header type 7f", heading="00:01.0 VGA controller: X [10de:1b80] (rev ff)"))
    for fact in (function.acs, function.port_type, function.header, function.bars):
        assert isinstance(fact, Unknown)


@pytest.mark.parametrize("lines", [("!!! Unknown header type 7f",), (), ("Kernel driver in use: vfio-pci",)])
def test_a_function_that_did_not_answer_is_told_as_silent(lines: tuple[str, ...]) -> None:
    """Without -v lspci shows it by its revision alone: ids and class are the kernel's."""
    function = one(lspci(*lines, heading="00:01.0 VGA controller: X [10de:1b80] (rev ff)"))
    assert isinstance(function.acs, Unknown)
    assert NO_ANSWER in function.acs.reason
    other = one(lspci(*lines[1:], heading="00:01.0 VGA controller: X [10de:1b80] (rev a1)"))
    assert NO_ANSWER not in str(other.acs)


def test_slots() -> None:
    host = host_of("00:1c.0 PCI bridge: X [8086:1]\n00:1c.4 PCI bridge: X [8086:2]\n00:1f.0 ISA bridge: X [8086:3]\n")
    assert [f.multifunction for f in host.functions.values()] == [
        Known(True, SHARED),
        Known(True, SHARED),
        Known(False, ALONE),
    ]


def test_a_function_that_names_the_next_of_its_device_is_not_taken_as_single() -> None:
    named = (
        "Capabilities: [148 v1] Alternative Routing-ID Interpretation (ARI)\n\t\tARICap:\tMFVC- ACS-, Next Function: {}"
    )
    express = "Capabilities: [78] Express (v2) Endpoint, MSI 00"
    first, second = (f"00:01.{number} Ethernet controller: X [8086:10c9]" for number in range(2))
    assert one(lspci(express, named.format(0), heading=first)).multifunction == Known(False, ALONE)
    alone = one(lspci(express, named.format(1), heading=first)).multifunction
    assert alone == Unknown("0000:00:01.0 names function 1 as the next of its device (ARI)")
    both = lspci(express, named.format(1), heading=first) + "\n" + lspci(express, named.format(0), heading=second)
    assert {function.multifunction for function in host_of(both).functions.values()} == {Known(True, SHARED)}


def test_virtual_functions_are_told_by_their_physical_one() -> None:
    text = PORT.rstrip("\n").replace("subordinate=01", "subordinate=02") + (
        "\n\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)\n"
        "\t\tIOVCtl: Enable+ Migration- Interrupt- MSE+ ARIHierarchy+\n"
        "\t\tInitial VFs: 8, Total VFs: 8, Number of VFs: 2, Function Dependency Link: 00\n"
        "\t\tVF offset: 256, stride: 2, Device ID: 10ed\n"
        "\t\tRegion 0: Memory at 00000000d0000000 (64-bit, prefetchable)\n\n"
        "02:00.0 3D controller: NVIDIA Corporation Device [10de:10ed]\n"
        "02:00.2 3D controller: NVIDIA Corporation Device [10de:10ed]\n"
        "02:00.4 3D controller: NVIDIA Corporation Device [10de:10ed]\n"
    )
    functions = host_of(text).functions
    owner = functions[at("01:00.0")]
    bar = Bar(0, 0xD000_0000, 0, memory=True, prefetchable=True)
    told = Sriov(8, 2, 0x160, memory=True, bars=(bar,))
    assert owner.sriov == Known(told, owner.ats.source if isinstance(owner.ats, Known) else "")
    assert owner.virtual_functions == (at("02:00.0"), at("02:00.2"))
    assert isinstance(owner.bars, Known)
    assert len(owner.bars.value) == 3
    virtual = functions[at("02:00.2")]
    assert (virtual.physical_function, virtual.parent) == (owner.address, at("00:01.0"))
    assert virtual.multifunction == Known(False, "virtual function")
    assert functions[at("02:00.4")].physical_function is None


def test_dump_beside_text_wins_and_a_short_one_is_filled_from_it() -> None:
    dump = bytearray(256)
    dump[0:16] = bytes.fromhex("8680 1019 0601 1000 0500 0406 0000 8100".replace(" ", "").replace("1019", "0119"))
    dump[0x18:0x1C] = bytes((0, 1, 1, 0))
    dump[0x34] = 0xA0
    dump[0xA0:0xA4] = bytes((0x10, 0, 0x42, 1))
    rows = "\n".join(f"{at:02x}: {dump[at : at + 16].hex(' ')}" for at in range(0, 256, 16))
    head, _, rest = PORT.partition("\n\n")
    port = one(f"{head}\n{rows}\n\n{rest}")
    assert port.multifunction == Known(True, "paste line 1: dump")
    assert isinstance(port.port_type, Known)
    assert port.port_type.source == "paste line 1: dump"
    assert isinstance(port.acs, Known)
    assert port.acs.source == "paste line 1"
    alone = one(f"00:01.0 PCI bridge: X\n{rows}\n")
    assert (alone.vendor, alone.device) == (0x8086, 0x1901)
    assert isinstance(alone.header, Known)
    assert alone.header.value is HeaderType.BRIDGE
    assert isinstance(alone.acs, Unknown)
    assert "256" in alone.acs.reason


_BESIDE = """\
01:00.{n} Ethernet controller [0200]: Intel Corporation {name} [8086:1520] (rev 01)
\tControl: I/O- Mem- BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-
\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tCapabilities: [a0] Express (v2) Endpoint, MSI 00

"""


def test_what_is_called_a_virtual_function_may_be_one() -> None:
    text = "".join(_BESIDE.format(n=n, name="Ethernet Virtual Function 700 Series") for n in (0, 2))
    found = host_of(text).functions
    for address in (at("01:00.0"), at("01:00.2")):
        assert found[address].perhaps_virtual
        assert isinstance(found[address].multifunction, Unknown)
    alone = host_of(_BESIDE.format(n=0, name="Some Virtual Function")).functions[at("01:00.0")]
    assert not alone.perhaps_virtual, "alone in its slot it is the same"
    others = host_of("".join(_BESIDE.format(n=n, name="Some NIC") for n in (0, 1))).functions
    assert not any(function.perhaps_virtual for function in others.values())


def test_a_name_that_the_text_has_is_kept() -> None:
    found = host_of(_BESIDE.format(n=0, name="Some NIC")).functions[at("01:00.0")]
    assert Names().function_name(found) == "Intel Corporation Some NIC"
    assert Names({0x8086: "I"}, {(0x8086, 0x1520): "I350"}).function_name(found) == "I I350"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("Designated Vendor-Specific: Vendor=1e98 ID=0000 Rev=1 Len=60: CXL\n\t\tCXLCap:\tCache+ IO+ Mem+\n"
         "\t\tCXLCtl:\tCache+ IO+ Mem+ CacheSFCov 0 CacheSFGran 0 CacheClean- Viral-", True),
        ("CXL Designated Vendor-Specific:\n\t\tCXLCap: Cache- IO+ Mem+\n\t\tCXLCtl: Cache- IO+ Mem-", False),
        # Its driver may enable it, unless that is locked, which is not printed.
        ("CXL Designated Vendor-Specific:\n\t\tCXLCap: Cache+ IO+ Mem+\n\t\tCXLCtl: Cache- IO+ Mem-", None),
        ("Designated Vendor-Specific: Vendor=1e98 ID=0000 Rev=0 Len=56: CXL", None),
        ("Designated Vendor-Specific <?>", None),
        ("#23", None),
        ("Extended Capability ID 0x23", None),
        ("Designated Vendor-Specific: Vendor=1e98 ID=0007 Rev=1 Len=32: CXL\n\t\tFBCap:\tCache+ IO+", False),
        ("Designated Vendor-Specific: Vendor=8086 ID=0005 Rev=0 Len=24 <?>", False),
    ],
)  # fmt: skip
def test_whether_cxl_cache_is_on(lines: str, told: bool | None) -> None:
    after = "\tCapabilities: [140 v1]"
    text = PORT.replace(after, f"\tCapabilities: [100 v1] {lines}\n{after}")
    fact = host_of(text).functions[at("00:01.0")].cxl_cache
    assert value_of(fact, None) is told


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("Multicast\n\t\tMcastCap: MaxGroups 64, ECRCRegen-\n\t\tMcastCtl: NumGroups 2, Enable+\n"
         "\t\tMcastBAR: IndexPos 12, BaseAddr 00000001c0000000\n", Known(Multicast(True, 0x1_C000_0000, 0x2000))),
        ("Multicast\n\t\tMcastCtl: NumGroups 1, Enable-\n\t\tMcastBAR: IndexPos 0, BaseAddr 0000000000000000\n",
         Known(Multicast(False, 0, 1))),
        ("Multicast <?>", None),
        ("#12", None),
        ("Extended Capability ID 0x12", None),
        ("Multicast\n\t\tMcastCtl: NumGroups 1, Enable+\n\t\tMcastBAR: IndexPos 99999999, BaseAddr 00\n", None),
        ("Multicast\n\t\tMcastCtl: NumGroups 99999999, Enable+\n\t\tMcastBAR: IndexPos 12, BaseAddr 00\n", None),
        ("Multicast\n\t\tMcastCtl: NumGroups 1, Enable\n\t\tMcastBAR: IndexPos 12, BaseAddr 00\n", None),
        ("Power Budgeting <?>", Known(None)),
    ],
)  # fmt: skip
def test_whether_multicast_is_on(lines: str, told: Known[Multicast | None] | None) -> None:
    after = "\tCapabilities: [140 v1]"
    text = PORT.replace(after, f"\tCapabilities: [100 v1] {lines}\n{after}")
    fact = host_of(text).functions[at("00:01.0")].multicast
    assert value_of(fact, "not told") == ("not told" if told is None else told.value)


def test_a_switch_that_copies_requests_is_shown_as_such() -> None:
    """PLX's upstream port in pciutils' ``cap-multicast``, a dump."""
    dump = "07:00.0 PCI bridge: PLX Technology, Inc. Device 8796 (rev ab)\n"
    space = bytearray(4096)
    for offset, value in ((0, 0x879610B5), (4, 0x00100107), (8, 0x060400AB), (0xC, 0x00010000), (0x34, 0x68)):
        space[offset : offset + 4] = value.to_bytes(4, "little")
    for offset, value in ((0x68, 0x00520010), (0x100, 0x00010012), (0x104, 0x8000003F), (0x108, 0xC000000C)):
        space[offset : offset + 4] = value.to_bytes(4, "little")
    dump += "".join(f"{at:02x}: {space[at : at + 16].hex(' ')}\n" for at in range(0, 4096, 16))
    host = host_of(dump)
    assert value_of(host.functions[at("07:00.0")].multicast, None) == Multicast(True, 0xC000_0000, 1 << 12)
    assert any("Multicast on" in line for line in show_lines(host, names=Names.load(), style=PLAIN))


_OLD_PORT = """\
00:01.0 PCI bridge [0604]: Intel Corporation X [8086:3408] (rev 13) (prog-if 00 [Normal decode])
\tFlags: bus master, fast devsel, latency 0
\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0
\tCapabilities: [88] #0d [0000]
\tCapabilities: [90] Express Root Port (Slot-), MSI 00
\tCapabilities: [100] Advanced Error Reporting <?>
\tCapabilities: [150] {}
\tKernel driver in use: pcieport
"""


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("Access Controls <?>", "acs"),
        ("#0d", "acs"),
        ("Unknown (13)", "acs"),
        ("Extended Capability ID 0xd", "acs"),
        ("#0f", "ats"),
        ("Extended Capability ID 0xf", "ats"),
        ("#10", "sriov"),
        ("Extended Capability ID 0x12", "multicast"),
        ("#19", ""),
    ],
)
def test_capabilities_that_an_older_lspci_does_not_know(word: str, named: str) -> None:
    port = one(_OLD_PORT.format(word))
    for name in ("acs", "ats", "sriov", "multicast"):
        fact = getattr(port, name)
        assert isinstance(fact, Unknown) if name == named else fact == Known(None, "paste line 1"), name


def test_numbers_of_capabilities_before_the_extended_ones_are_others() -> None:
    """0012h is SATA's there."""
    port = one(_OLD_PORT.format("Virtual Channel <?>").replace("[88] #0d [0000]", "[a8] #12 [0010]"))
    assert port.multicast == Known(None, "paste line 1")


def test_pasid_by_its_number() -> None:
    assert value_of(one(_OLD_PORT.format("#1b")).pasid, None) is True
    assert value_of(one(_OLD_PORT.format("#1c")).pasid, None) is False


def test_a_bus_line_below_what_is_no_bridge_is_anothers() -> None:
    """What ``lspci -vvv | grep Bus:`` finds, the SMBus included."""
    host = host_of("00:1f.4 SMBus: Intel Corporation Device a123\n\tBus: primary=00, secondary=01, subordinate=05\n")
    (function,) = host.functions.values()
    assert isinstance(function.bridge, Unknown)


@pytest.mark.parametrize(
    ("line", "known"), [("\tSubsystem: X Device 1\n", True), ("\t\tUESta:\tDLP- ACSViol-\n", False)]
)
def test_what_was_picked_without_its_driver_is_not_without_one(line: str, known: bool) -> None:
    """``lspci -k`` shows the drivers of all, ``lspci -vvv | grep ACS`` those of none."""
    text = "00:1f.2 SATA controller: X\n\tKernel driver in use: ahci\n01:00.0 Network controller: Y\n"
    assert isinstance(host_of(f"{text}{line}\n").functions[at("01:00.0")].driver, Known) is known
