"""What a person reads of a function's group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from grouping_hosts import grouping_of, pasted
from groups_hosts import EMPTY_ACS
from reach_hosts import CLOSED, OFF, at, endpoint, machine, port, slots, switch

from atoll.host.complaint import Complaint, ComplaintKind
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Function, Group, Host, KernelRelease, ReservedRegion
from atoll.pci.config import NO_ANSWER
from atoll.pci.header import PortType
from atoll.report.grouping import grouping_document, grouping_lines
from atoll.report.names import Names
from atoll.report.style import PLAIN


def _lines(host: Host, one: str) -> str:
    lines = grouping_lines(host, grouping_of(host, one), names=Names(), style=PLAIN)
    assert all(len(line) <= 100 for line in lines if "config_acs" not in line)
    return " ".join(" ".join(lines).split())


def test_firmware_that_gives_two_cards_one_id() -> None:
    host = machine(*(endpoint(f"00:0{n}.0", port_type=PortType.ROOT_INTEGRATED, group=5) for n in range(3)))
    told = replace(host, firmware_aliases=Known({at("00:01.0"): 0x0000}, "IVRS"))
    text = _lines(told, "00:01.0")
    assert "because the firmware's table for AMD's IOMMU (IVRS) gives them one requester id." in text
    assert "0000:00:01.0 and 0000:00:00.0 use one requester id (so the firmware's table" in text
    assert "nothing that can be set: the firmware's table for AMD's IOMMU (IVRS)" in text
    assert "IVRS" not in _lines(replace(host, firmware_aliases=Known({at("00:01.0"): 0x00F8}, "IVRS")), "00:01.0")


def test_what_spoils_it_and_what_would_help() -> None:
    host = pasted(machine(*switch(None, None, root=OFF), port("00:02.0", 9)))
    words = _lines(host, "03:00.0")
    assert words.startswith("0000:03:00.0 shares its group, as predicted, with 1 function of other devices because ")
    assert "0000:00:01.0 (root-port) has ACS, with SrcValid- ReqRedir- CmpltRedir- UpstreamFwd-" in words
    assert "0000:02:00.0 0000:02:01.0 (downstream) have no ACS capability: hardware" in words
    assert "another slot" in words
    document = grouping_document(host, grouping_of(host, "03:00.0"))
    assert [place["port"] for place in document["slots"]["places"]] == ["0000:00:02.0"]


def test_bits_to_set_ready_to_paste() -> None:
    host = pasted(machine(*switch(OFF, OFF, root=OFF)))
    words = _lines(host, "03:00.0")
    assert "pci=config_acs=xx111x1@0000:00:01.0;xx111x1@0000:02:00.0" in words
    assert "predicted with it: 0000:03:00.0 alone" in words
    assert "cost: 0000:03:00.0 and 0000:04:00.0 talk by way of 0000:00:01.0 then" in words


def test_functions_of_one_device() -> None:
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, group=5) for n in range(2)]
    words = _lines(machine(port("00:01.0", 1), *pair), "01:00.0")
    assert words.startswith("0000:01:00.0 shares group 5 only with 0000:01:00.1, of the same device.")
    assert "nothing: functions of one device" in words


def _virtual(*beside: Function, driver: str | None = None) -> Host:
    """A card with two virtual functions below a root port without ACS."""
    owner = endpoint("01:00.0", "00:01.0", group=5, acs=EMPTY_ACS, driver=driver)
    made = [endpoint(f"01:10.{n}", "00:01.0", group=5, physical="01:00.0", acs=EMPTY_ACS) for n in (0, 2)]
    first = replace(port("00:01.0", 1, acs=None), group=Known(5))
    return machine(first, owner, *made, *beside)


def test_virtual_functions_that_a_port_holds_together() -> None:
    words = _lines(_virtual(), "01:10.0")
    assert words.startswith("0000:01:10.0 shares group 5 only with 0000:01:00.0 0000:01:10.2, of the same device (and")
    assert "another slot: no slot of this machine would tell its functions apart" in words
    assert "does not say it keeps them apart" not in words
    words = _lines(_virtual(port("00:02.0", 2)), "01:10.0")
    assert "predicted with its functions told apart below: 0000:00:02.0 (empty" in words
    assert "nothing" not in words


def test_no_word_of_slots_where_acs_tells_functions_apart() -> None:
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, acs=EMPTY_ACS) for n in range(2)]
    words = _lines(pasted(machine(port("00:01.0", 1, acs=OFF), *pair, port("00:02.0", 2, acs=OFF))), "01:00.0")
    assert "pci=config_acs=xx111x1@0000:00:01.0" in words
    assert "slot" not in words


def test_functions_that_hold_each_other_are_held_in_any_slot() -> None:
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, group=5) for n in range(2)]
    words = _lines(machine(port("00:01.0", 1, acs=None), *pair, port("00:02.0", 2)), "01:00.0")
    assert "another slot" not in words
    assert "nothing: functions of one device" in words


def test_a_physical_function_is_not_given_to_vfio_for_its_virtual_ones() -> None:
    host = _virtual(driver="ixgbe")
    given = at("01:10.0")
    host = replace(host, functions={**host.functions, given: replace(host.functions[given], driver=Known("vfio-pci"))})
    words = _lines(host, "01:10.0")
    assert "Not viable: 0000:01:00.0 is bound to ixgbe." in words
    assert "its virtual functions, 0000:01:10.0 among them, go with its driver" in words
    assert "driver_override" not in words


def test_a_conventional_bus() -> None:
    bridge = port("01:00.0", 2, "00:01.0", PortType.PCIE_TO_PCI, acs=None)
    cards = [endpoint(f"02:0{n}.0", "01:00.0", port_type=PortType.CONVENTIONAL) for n in range(2)]
    words = _lines(pasted(machine(port("00:01.0", 1), bridge, *cards)), "02:00.0")
    assert "nothing: behind a conventional bridge all requests carry one id" in words


def test_fiction() -> None:
    multi = [replace(port(f"00:01.{n}", 1 + n, acs=None), multifunction=Known(True)) for n in range(2)]
    cards = [endpoint(f"{1 + n:02x}:00.0", f"00:01.{n}") for n in range(2)]
    host = machine(*multi, *cards, command_line="pcie_acs_override=downstream,multifunction")
    words = _lines(host, "01:00.0")
    assert "Fiction: pcie_acs_override= is on the command line." in words
    assert "without it this group would also hold 0000:00:01.0 0000:00:01.1 0000:02:00.0" in words
    document = grouping_document(host, grouping_of(host, "01:00.0"))
    assert document["override"]["without"] == ["0000:00:01.0", "0000:00:01.1", "0000:01:00.0", "0000:02:00.0"]


def test_fiction_over_what_was_not_read() -> None:
    unread = Unknown("first line only")
    multi = [replace(port(f"00:01.{n}", 1 + n), acs=unread, port_type=unread) for n in range(2)]
    cards = [endpoint(f"{1 + n:02x}:00.0", f"00:01.{n}") for n in range(2)]
    host = machine(*multi, *cards, command_line="pcie_acs_override=downstream,multifunction")
    words = _lines(host, "01:00.0")
    assert "what this group would be without it, the record does not show" in words
    assert "would also hold" not in words
    assert grouping_document(host, grouping_of(host, "01:00.0"))["override"]["without_undetermined"]


def test_fiction_that_only_the_boot_log_tells() -> None:
    cards = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, group=n + 2) for n in range(2)]
    quiet = machine(port("00:01.0", 1, acs=None), *cards)
    said = replace(quiet, overrides_acs=Known(True), command_line=Unknown("not shown"))
    assert "Fiction: the kernel said at boot that it overrides ACS" in _lines(said, "01:00.0")
    assert "Fiction" not in _lines(quiet, "01:00.0")


def test_behind_a_vmd_nothing_splits_but_the_firmware() -> None:
    vmd = endpoint("00:0e.0", port_type=PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D))
    behind = [port("10000:00:02.0", 1), endpoint("10000:01:00.0", "10000:00:02.0", acs=None)]
    more = [port("10000:00:03.0", 2, acs=None), endpoint("10000:02:00.0", "10000:00:03.0")]
    words = _lines(pasted(machine(vmd, *behind, *more)), "10000:02:00.0")
    assert "because 0000:00:0e.0 (root-integrated) lends its requester id to what is behind it (and 1 other)" in words
    assert (
        "- VMD off in the firmware's setup (a choice named after VMD, RST or RAID there): what the VMD 0000:00:0e.0"
        in words
    )
    assert "- nothing" not in words
    assert "conventional" not in words


def test_the_firmware_is_named_beside_another_slot() -> None:
    vmd = endpoint("00:0e.0", port_type=PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D))
    behind = [port("10000:00:02.0", 1), endpoint("10000:01:00.0", "10000:00:02.0")]
    words = _lines(pasted(machine(vmd, *behind, port("00:1c.0", 3))), "10000:01:00.0")
    assert "- VMD off in the firmware's setup" in words
    assert "- another slot for the card (10000:01:00.0), now below 10000:00:02.0" in words


def test_no_rule_is_said_to_be_broken_where_the_record_hides_what_it_looks_at() -> None:
    first, second = (replace(endpoint(f"{bus:02x}:00.0", group=5), parent_told=False) for bus in (1, 2))
    host = machine(first, second)
    words = _lines(host, "01:00.0")
    assert "with 1 function of other devices; why, the record does not show." in words
    assert "by the rules" not in words
    assert "not known: the record does not show what could be set" in words


def test_ports_that_were_not_read_may_hold_what_splits_functions_of_other_devices() -> None:
    """A list of groups only: root ports of one device, and a card below each; their ACS is what would tell."""
    unread = Unknown("first line only")
    ports = [
        replace(port(f"00:01.{n}", n), port_type=unread, acs=unread, bridge=unread, group=Known(5)) for n in (1, 2)
    ]
    cards = [replace(endpoint(f"0{n}:00.0", group=5), port_type=unread, parent_told=False) for n in (1, 2)]
    both = [replace(endpoint("01:00.1", group=5), port_type=unread, parent_told=False)]
    words = _lines(machine(*ports, *cards, *both), "01:00.0")
    assert "with 1 function of other devices; why, the record does not show" in words
    assert "most likely nothing" not in words
    assert "not known: the record does not show what could be set" in words


def test_virtual_functions_are_not_called_inseparable() -> None:
    members = (replace(endpoint(f"01:00.{n}", group=5), port_type=Unknown("cut")) for n in range(3))
    functions = {f.address: replace(f, perhaps_virtual=f.address.function > 0) for f in members}
    host = machine(*functions.values())
    words = _lines(host, "01:00.1")
    assert "not known: virtual functions count as apart" in words
    assert "most likely nothing" not in words


@pytest.mark.parametrize("virtual", [True, False])
def test_a_port_without_acs_above_functions_that_may_count_as_apart(virtual: bool) -> None:
    made = (endpoint(f"01:00.{n}", "00:01.0", group=5, class_code=0x020000) for n in range(3))
    members = [replace(f, port_type=Unknown("cut"), acs=Unknown("cut")) for f in made]
    members = [replace(f, perhaps_virtual=virtual and f.address.function > 0) for f in members]
    words = _lines(machine(replace(port("00:01.0", 1), acs=Known(None), group=Known(5)), *members), "01:00.1")
    assert "nothing that can be set: 0000:00:01.0 above has no ACS to be set" in words
    assert ("virtual functions count as apart" in words) is virtual
    assert "another slot may do" in words


def test_a_port_that_is_not_shown_holds_who_counts_as_apart() -> None:
    made = (endpoint(f"01:00.{n}", acs=CLOSED if n else Unknown("cut"), group=5, multifunction=True) for n in range(2))
    host = machine(*(replace(f, parent_told=False) for f in made))
    words = _lines(host, "01:00.0")
    assert "a port above bus 0000:01 that does not isolate, which the record does not show: not known" in words
    assert "0000:01:00.1 counts as apart from its siblings, so nothing else can hold it here" in words
    assert "not known: a port above decides, and the record does not show it" in words
    assert grouping_document(host, grouping_of(host, "01:00.0"))["apart"] == "0000:01:00.1"


@pytest.mark.parametrize(
    ("class_code", "said"),
    [(0x020000, "not known: many network controllers say"), (0x030000, "most likely nothing: functions of one device")],
)
def test_network_controllers_often_say_that_their_functions_are_apart(class_code: int, said: str) -> None:
    made = (endpoint(f"01:00.{n}", group=5, class_code=class_code, multifunction=True) for n in range(2))
    unread = (replace(f, port_type=Unknown("cut"), acs=Unknown("cut"), parent_told=False) for f in made)
    assert said in _lines(machine(*unread), "01:00.0")


def test_what_firmware_keeps_mapped_is_not_for_vfio() -> None:
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, group=5) for n in range(2)]
    quiet = machine(port("00:01.0", 1), *pair)
    said = replace(quiet, refused=frozenset({at("01:00.1")}))
    words = _lines(said, "01:00.0")
    assert "Not for VFIO: 0000:01:00.1: the firmware wants memory mapped for it one to one" in words
    assert list(grouping_document(said, grouping_of(said, "01:00.0"))["unassignable"]) == ["0000:01:00.1"]
    assert "Not for VFIO" not in _lines(quiet, "01:00.0")
    assert isinstance(quiet.groups, Known)
    direct: Fact[tuple[ReservedRegion, ...]] = Known((ReservedRegion(0x1000, 0x1FFF, "direct"),))
    groups = {n: replace(g, reserved_regions=direct) for n, g in quiet.groups.value.items()}
    assert _lines(replace(said, groups=Known(groups)), "01:00.0").count("Not for VFIO: 0000:01:00.") == 2


def test_what_is_only_trusted_is_told_as_that() -> None:
    host = machine(*slots(CLOSED, CLOSED))
    group = grouping_of(host, "01:00.0")
    words = " ".join(grouping_lines(host, group, names=Names(), style=PLAIN, trusted=[at("02:00.0")])[:3])
    assert "Trusted: with ATS on" in words
    words = " ".join(grouping_lines(host, group, names=Names(), style=PLAIN, beyond=[at("02:00.0")])[:3])
    assert "Not isolated: as the hardware is set now, it directly reaches 0000:02:00.0, outside" in words
    assert grouping_lines(host, group, names=Names(), style=PLAIN, beyond=[at("01:00.0")])[1] == ""


def test_of_an_unread_function_no_type_is_told() -> None:
    made = (endpoint(f"01:00.{n}", group=5, multifunction=True) for n in range(2))
    unread = (replace(f, port_type=Unknown("cut"), acs=Unknown("cut"), parent_told=False) for f in made)
    assert "- 0000:01:00.0 0000:01:00.1 were not read: not known cut" in _lines(machine(*unread), "01:00.0")


def _pair(*drivers: str | Unknown | None, driver_above: str = "pcieport") -> Host:
    above = replace(port("00:01.0", 1), driver=Known(driver_above), group=Known(5))
    pair = [
        endpoint(f"01:00.{n}", "00:01.0", multifunction=True, group=5, driver=driver)
        for n, driver in enumerate(drivers)
    ]
    return machine(above, *pair)


def test_a_group_that_drivers_of_the_host_keep_from_vfio() -> None:
    host = _pair("vfio-pci", "snd_hda_intel")
    lines = grouping_lines(host, grouping_of(host, "01:00.0"), names=Names(), style=PLAIN)
    assert any(line.startswith("Not viable: 0000:01:00.1 is bound to snd_hda_intel.") for line in lines[:4])
    assert "        for a in 0000:01:00.1; do" in lines
    assert grouping_document(host, grouping_of(host, "01:00.0"))["in_the_way"] == {"0000:01:00.1": "snd_hda_intel"}
    needed = replace(host, essential={at("01:00.1"): "root file system"})
    words = _lines(needed, "01:00.0")
    assert "0000:01:00.1 has to stay: the host needs it (root file system)." in words
    assert "driver_override" not in words


@pytest.mark.parametrize("beside", [None, "pci-stub", "vfio-pci", "mlx5_vfio_pci", Unknown("cut")])
def test_drivers_that_leave_a_group_to_vfio(beside: str | Unknown | None) -> None:
    assert "viable" not in _lines(_pair("vfio-pci", beside), "01:00.0")


def test_a_group_that_nobody_gives_away_is_not_called_refused() -> None:
    words = _lines(_pair("nvidia", "snd_hda_intel"), "01:00.0")
    assert "viable" not in words
    assert words.count("nvidia") == words.count("snd_hda_intel") == 1


def test_a_bridge_with_a_driver_of_its_own() -> None:
    """Since 5.19 only drivers that leave DMA alone let a group go; before, bridges did not count."""
    host = _pair("vfio-pci", driver_above="shpchp")
    words = _lines(host, "01:00.0")
    assert "Not viable: 0000:00:01.0 is bound to shpchp." in words
    assert "echo 0000:00:01.0 > /sys/bus/pci/devices/0000:00:01.0/driver/unbind" in words
    assert "driver_override" not in words
    older = replace(host, kernel=Known(KernelRelease(5, 18, "5.18")))
    assert "viable" not in _lines(older, "01:00.0")


def test_a_sibling_whose_group_is_not_told() -> None:
    host = _pair("vfio-pci", "snd_hda_intel")
    told = host.functions[at("01:00.1")]
    functions = {**host.functions, told.address: replace(told, group=Unknown("cut"))}
    groups: Fact[Mapping[int, Group]] = Known({5: Group(5, (at("00:01.0"), at("01:00.0")), Known("DMA"), Known(()))})
    words = _lines(replace(host, functions=functions, groups=groups), "01:00.0")
    assert "Not viable? 0000:01:00.1 is bound to snd_hda_intel. If it is in the group" in words


def test_what_is_amiss_with_it() -> None:
    host = machine(*slots(CLOSED))
    said = replace(host, complaints=(Complaint(ComplaintKind.NOT_BACK, at("01:00.0"), ("FLR",)),))
    words = _lines(said, "01:00.0")
    assert "Trouble: 0000:01:00.0 did not come back after a reset (FLR). What to do: atoll doctor." in words
    assert "Trouble" not in _lines(host, "01:00.0")
    dead = {at("01:00.0"): replace(host.functions[at("01:00.0")], acs=Unknown(f"config: {NO_ANSWER}"))}
    words = _lines(replace(host, functions={**host.functions, **dead}), "01:00.0")
    assert "Trouble: 0000:01:00.0 does not answer: its registers read all ones." in words


def test_a_refusal_in_the_log_where_no_drivers_were_read() -> None:
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, group=5, driver=Unknown("cut")) for n in range(2)]
    host = machine(replace(port("00:01.0", 1), group=Known(5)), *pair)
    said = replace(host, complaints=(Complaint(ComplaintKind.NOT_VIABLE, at("01:00.0"), ("5",)),))
    words = _lines(said, "01:00.0")
    assert "Not viable: the log says so; which of 0000:01:00.1 a driver of the host's has, lspci -nnk shows." in words
    assert "for a in 0000:01:00.1; do" in words
    assert "Trouble" not in words
    assert "viable" not in _lines(host, "01:00.0")
    other = endpoint("02:00.0", "00:02.0", group=5, driver=Unknown("cut"))
    words = _lines(replace(machine(*host.functions.values(), other), complaints=said.complaints), "01:00.0")
    assert "which of 0000:01:00.1 0000:02:00.0 a driver" in words
    assert "driver_override" not in words, "whether the host needs what is in another slot is not told"


def test_no_commands_that_take_other_devices_from_the_host() -> None:
    """Whether the host runs from a drive in the same group a record does not tell."""
    drive = endpoint("02:00.0", "00:02.0", group=5, driver="nvme", class_code=0x010802)
    words = _lines(machine(*_pair("vfio-pci", "snd_hda_intel").functions.values(), drive), "01:00.0")
    assert "Not viable: 0000:01:00.1 is bound to snd_hda_intel, 0000:02:00.0 is bound to nvme." in words
    assert "0000:02:00.0: another device; bound to vfio-pci too, the host loses what is on it" in words
    assert "driver_override" not in words
