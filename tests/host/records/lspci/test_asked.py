"""Whose the lines below a command are."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown
from atoll.host.records.lspci.asked import Asked, asked_in
from atoll.host.records.lspci.slot import parse_slot
from atoll.host.records.pasted.text import read_text
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

PORT = Address.parse("0000:00:03.0")
LIST = "00:01.0 PCI bridge [0604]: Intel Corporation Device [8086:352a]\n00:03.0 PCI bridge [0604]: Intel Corporation Device [8086:352b]\n"  # noqa: E501
BITS = "\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans+\n"
ON = "\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-\n"
OFF = "\t\tACSCtl:\tSrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-\n"
WHOLE = """00:03.0 PCI bridge: Intel Corporation Device 352b (rev 04) (prog-if 00 [Normal decode])
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr+ Stepping- SERR+ FastB2B- DisINTx+
\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0
\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00
\t\tDevCap:\tMaxPayload 512 bytes, PhantFunc 0
\tCapabilities: [100 v1] Advanced Error Reporting
\t\tUESta:\tDLP- SDES- TLP-
\tKernel driver in use: pcieport
"""


@pytest.mark.parametrize("between", ["$ lspci -vvv | grep ACS\n", "root@host:~# grep ACS pci.log\n", "\n"])
def test_bits_picked_from_others_are_not_those_of_the_last_of_a_list(between: str) -> None:
    host = read_text((LIST + between + BITS + ON + BITS + OFF).encode(), name="t")
    assert isinstance(host.functions[PORT].acs, Unknown)


def test_bits_picked_from_others_are_not_those_of_one_shown_whole() -> None:
    host = read_text((WHOLE + "$ sudo lspci -vvv | grep -i acs\n" + BITS + ON).encode(), name="t")
    acs = host.functions[PORT].acs
    assert isinstance(acs, Known)
    assert acs.value is None


@pytest.mark.parametrize("above", ["", "\tCapabilities: [150 v1] Access Control Services\n"])
def test_bits_below_the_driver_are_not_those_of_one_shown_whole(above: str) -> None:
    host = read_text((WHOLE + above + BITS + ON).encode(), name="t")
    acs = host.functions[PORT].acs
    assert isinstance(acs, Known)
    assert acs.value is None


def test_bits_below_the_driver_are_those_of_one_of_which_nothing_else_is_shown() -> None:
    driver = "\tKernel driver in use: pcieport\n"
    host = read_text((LIST + driver + BITS + ON).encode(), name="t")
    assert isinstance(host.functions[PORT].acs, Known)


def test_bits_right_below_one_shown_whole_are_not_its_own() -> None:
    host = read_text((WHOLE.replace("\tKernel driver in use: pcieport\n", "") + BITS + ON).encode(), name="t")
    assert isinstance(host.functions[PORT].acs, Unknown)


def test_bits_twice_are_of_two_functions() -> None:
    host = read_text((LIST + BITS + ON + BITS + OFF).encode(), name="t")
    assert isinstance(host.functions[PORT].acs, Unknown)


@pytest.mark.parametrize(
    "command",
    ["$ sudo lspci -vvv -s 00:03.0 | grep -E 'ACS'\n", "# lspci -vvv -s 00:03.0  (upstream bridge: ACSCtl)\n"],
)
def test_bits_below_a_command_are_those_of_the_function_that_it_names(command: str) -> None:
    host = read_text((LIST.replace("00:03.0", "00:04.0") + command + BITS + ON).encode(), name="t")
    acs = host.functions[PORT].acs
    assert isinstance(acs, Known)
    assert acs.value is not None
    assert acs.value.control & AcsFlag.RR
    assert isinstance(host.functions[Address.parse("0000:00:04.0")].acs, Unknown)


@pytest.mark.parametrize(("device", "known"), [("8086:a112", False), ("8086:352b", True), ("10b5:8747", True)])
def test_bits_picked_of_a_port_that_lspci_misreads_do_not_tell_that_they_are_off(device: str, known: bool) -> None:
    """The type, by which it is told otherwise, was left out."""
    host = read_text((LIST.replace("8086:352b", device) + BITS + OFF).encode(), name="t")
    assert isinstance(host.functions[PORT].acs, Known) is known


def test_a_port_without_a_name_whose_control_reads_off_may_be_one_that_lspci_misreads() -> None:
    host = read_text((LIST + "$ lspci -vvv -s 00:03.0 | grep ACS\n" + BITS + OFF).encode(), name="t")
    assert isinstance(host.functions[PORT].acs, Unknown)


@pytest.mark.parametrize(
    ("label", "own"),
    [
        ("00:01.0:", False),
        ("== 0000:00:01.0 ==", False),
        ("ACS bits of the port 00:01.0 are these:", False),
        ("# setpci -s 00:01.0 ECAP_ACS+6.w=1d", False),
        ("00:03.0:", True),
    ],
)
def test_bits_below_a_line_that_names_another_function_are_that_ones(label: str, own: bool) -> None:
    host = read_text(f"{LIST}{label}\n{BITS}{ON}".encode(), name="t")
    assert isinstance(host.functions[PORT].acs, Known) is own


@pytest.mark.parametrize("label", ["00:01.0:", "Here is the port 00:01.0 (the other one):", ""])
@pytest.mark.parametrize("express", ["", "\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00\n"])
def test_capabilities_below_what_names_another_function_or_apart_are_not_the_last_ones(
    label: str, express: str
) -> None:
    text = f"{LIST}{label}\n{express}\tCapabilities: [150 v1] Access Control Services\n{BITS}{ON}"
    port = read_text(text.encode(), name="t").functions[PORT]
    assert isinstance(port.acs, Unknown)
    assert isinstance(port.port_type, Unknown)


@pytest.mark.parametrize("line", ["\tIOMMU group: 5\n", "\tKernel driver in use: vfio-pci\n"])
def test_what_was_picked_below_a_list_and_a_blank_line_is_not_the_last_ones(line: str) -> None:
    port = read_text(f"{LIST}\n{line}".encode(), name="t").functions[PORT]
    assert isinstance(port.group, Unknown)
    assert isinstance(port.driver, Unknown)


def test_a_function_whose_first_line_stands_apart_is_whole() -> None:
    host = read_text(WHOLE.replace("\tControl", "\n\tControl").encode(), name="t")
    assert isinstance(host.functions[PORT].bridge, Known)


@pytest.mark.parametrize("states", [(ON, OFF), (OFF, ON), (ON, OFF, ON)])
def test_a_port_that_is_shown_before_and_after_a_change_is_in_neither_state(states: tuple[str, ...]) -> None:
    text = LIST + "".join(f"$ lspci -vvv -s 00:03.0 | grep ACS\n{BITS}{state}" for state in states)
    assert isinstance(read_text(text.encode(), name="t").functions[PORT].acs, Unknown)


@pytest.mark.parametrize(
    "line",
    ["lspci -vvv", "lspci -s 00:03 -vvv", "lspci -s $d -vvv", "lspci -s 00:03.0 -s 00:04.0", "cat x | lspci -F -"],
)
def test_of_more_than_one_function_no_name_is_taken(line: str) -> None:
    found = asked_in(line)
    assert found is not None
    assert found.slot is None


@pytest.mark.parametrize("line", ["\tKernel modules: shpchp", "# a comment", "pcilib: sysfs", "Flags: fast devsel", ""])
def test_what_nobody_typed(line: str) -> None:
    assert asked_in(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "$ lspci -s 00:03.0; grep ACS all.txt",
        "$ lspci -vvv -s 00:03.0 && cat acs.txt",
        "lspci -s 00:03.0 shows nothing, the other has:",
        "I ran lspci -vvv -s 00:03.0 and then the other:",
        "user@host ~> grep ACS all.txt # lspci -vvv -s 00:03.0",
        "host:~ # lspci -vvv -s 00:03.0|grep ACS; grep ACS all.txt",
    ],
)
def test_what_is_no_command_of_lspci_alone_asks_of_no_function(line: str) -> None:
    assert asked_in(line) == Asked(None)


@pytest.mark.parametrize(
    "line",
    [
        "$ sudo lspci -vvv -s 00:03.0 2>&1 | grep ACS",
        "root@host:~# LC_ALL=C /usr/bin/lspci -vvvs 00:03.0",
        "# lspci -vvv -s 00:03.0  (upstream bridge: ACSCtl)",
        "+ lspci -s 00:03.0 -vvv > out.txt",
        "lspci -vvv -s00:03.0 -A linux-sysfs | grep -i acs",
        "`lspci -s 00:03.0 -vv`",
        "me@host:~$ sudo -E lspci -s 00:03.0 -vvv|grep ACS",
        "user@host ~> lspci -vvvs 00:03.0 |& grep ACS",
        "host:~ # lspci -vvv -s 00:03.0  # root port",
        "sh-5.1# lspci -vvv -s 00:03.0 | grep -E 'ACSCap|ACSCtl'",
    ],
)
def test_a_command_of_lspci_asks_of_the_function_behind_its_option(line: str) -> None:
    assert asked_in(line) == Asked(parse_slot("00:03.0"))


def test_of_a_bridge_asked_for_its_bits_alone_nothing_else_is_told() -> None:
    """A ``Bus:`` line that the pattern left out does not make it an endpoint, against what the text shows elsewhere."""
    host = read_text((WHOLE + "\n$ lspci -vvv -s 00:03.0 | grep ACS\n" + BITS + ON).encode(), name="t")
    bridge = host.functions[PORT].bridge
    assert isinstance(bridge, Known)
    assert bridge.value is not None
    alone = read_text((LIST + "$ lspci -vvv -s 00:03.0 | grep ACS\n" + BITS + ON).encode(), name="t")
    assert isinstance(alone.functions[PORT].header, Unknown)
    assert isinstance(alone.functions[PORT].bridge, Unknown)


@pytest.mark.parametrize("again", [WHOLE.partition("\n")[0] + "\n", "$ lspci -vvv -s 00:03.0 | grep ACS\n"])
def test_bits_picked_after_a_change_stand_against_those_of_the_port_shown_whole(again: str) -> None:
    named = f"\tCapabilities: [150 v1] Access Control Services\n{BITS}"
    whole = WHOLE.replace("\tKernel driver", f"{named}{ON}\tKernel driver")
    changed = OFF.replace("SrcValid-", "SrcValid+")
    for after, doubted in ((ON, False), (changed, True)):
        acs = read_text(f"{whole}\n{again}{BITS}{after}".encode(), name="t").functions[PORT].acs
        assert isinstance(acs, Unknown) is doubted


def test_lines_without_a_first_one_tell_no_revision() -> None:
    listed = WHOLE.partition("\n")[0]
    host = read_text((f"{listed}\n" + "$ lspci -vvv -s 00:03.0 | grep ACS\n" + BITS + ON).encode(), name="t")
    revision = host.functions[PORT].revision
    assert isinstance(revision, Known)
    assert revision.value == 4
