"""Several records of one machine: gaps are filled, disagreements are kept and count as unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.host import read_host
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.links.interconnect import with_link_records
from atoll.host.links.xml import parse_xml
from atoll.host.model import Holder, Host, IommuUnit, Platform
from atoll.host.records.group_facts import ToldGroups, join
from atoll.host.records.merge.hosts import merge
from atoll.host.records.pasted.text import read_text
from atoll.host.records.programs.smi_gpus import read_smi_gpus
from atoll.isolation.groups import predict
from atoll.pci.address import Address
from atoll.pci.bar import Bar, Rom
from atoll.pci.bridge import Bridge, Window
from atoll.pci.sriov import Sriov
from host.records.paste import CAPTURES, PORT, RENDERED, at, host_of, lspci, recorded_text

LINKS = Path(__file__).parents[3] / "data" / "links"
_NUMBERLESS = PORT.replace(" [8086:1901]", "").replace(" [10de:1b80]", "").replace("[0604]", "").replace("[0300]", "")


def test_one_record_fills_the_other() -> None:
    heading = "00:01.0 PCI bridge [0604]: X [8086:1901]"
    unprivileged = host_of(lspci("Flags: fast devsel", "Capabilities: <access denied>", heading=heading))
    merged = merge([unprivileged, host_of(PORT, "root")])
    assert isinstance(merged.functions[at("00:01.0")].acs, Known)
    assert merged.name == "paste + root"
    assert not any("access denied" in gap.why for gap in merged.gaps)


def test_functions_that_one_names_and_the_other_shows_are_no_gap() -> None:
    """However many, and whatever else another text lacks."""
    named = [f"02:00.{number}" for number in range(6)]
    listed = "".join(f"IOMMU Group {number}:\n\t{name}\n" for number, name in enumerate(named))
    first = host_of(f"{PORT}\n{listed}", "lists")

    def hidden(found: Host) -> list[str]:
        return [gap.what for gap in found.gaps if "the text does not show them" in gap.why]

    assert len(hidden(first)) == 1
    shown = "".join(f"{name} Ethernet controller [0200]: X [8086:1521]\n" for name in named)
    assert hidden(merge([first, host_of(shown, "shows")])) == []
    some = "".join(shown.splitlines(keepends=True)[:-1])
    assert len(hidden(merge([first, host_of(some, "shows all but one")]))) == 1
    unnamed = "03:00.0 Ethernet controller: Nobody Knows\n"
    assert hidden(merge([first, host_of(shown + unnamed, "shows these, and ids of another not")])) == []


def test_ids_that_one_shows_settle_what_the_other_leaves_open() -> None:
    open_host = host_of(_NUMBERLESS, "names")
    assert not open_host.functions[at("01:00.0")].ids_told
    merged = merge([open_host, host_of("01:00.0 VGA compatible controller [0300]: X [10de:1b80]\n", "numbers")])
    gpu = merged.functions[at("01:00.0")]
    assert (gpu.vendor, gpu.device, gpu.ids_told) == (0x10DE, 0x1B80, True)


def test_a_list_of_gpus_makes_no_excerpt_whole() -> None:
    gpus = (
        "<nvidia_smi_log><gpu><pci><pci_bus_id>00000000:01:00.0</pci_bus_id>"
        "<pci_device_id>1B8010DE</pci_device_id></pci></gpu></nvidia_smi_log>"
    )
    part, shown = host_of(PORT), read_smi_gpus(parse_xml(gpus.encode(), name="gpus"), name="gpus")
    assert part.excerpt
    assert merge([part, shown]).excerpt
    assert merge([shown, part]).excerpt
    whole = host_of("00:00.0 Host bridge [0600]: X [8086:1237]\n" + PORT, "whole")
    assert not merge([part, whole]).excerpt
    assert not merge([merge([shown, part]), whole]).excerpt


def test_a_disagreement_is_kept_and_counts_as_unknown() -> None:
    other = PORT.replace("ACSCtl:\tSrcValid+ TransBlk- ReqRedir+", "ACSCtl:\tSrcValid+ TransBlk- ReqRedir-")
    merged = merge([host_of(PORT, "one"), host_of(other, "two")])
    acs = merged.functions[at("00:01.0")].acs
    assert isinstance(acs, Unknown)
    gap = next(gap for gap in merged.gaps if gap.what == "acs of 0000:00:01.0")
    assert "one line 1 says ACS SrcValid+ TransBlk- ReqRedir+" in gap.why
    assert "two line 1 says ACS SrcValid+ TransBlk- ReqRedir-" in gap.why
    assert at("01:00.0") in dict(predict(merged).undetermined)


def test_of_bridges_any_window_that_a_record_shows_counts() -> None:
    one, other = host_of(PORT, "one"), host_of(PORT, "two")
    place = at("00:01.0")
    low, high = Window(0x80000000, 0x800FFFFF, memory=True), Window(0x9000000000, 0x90000FFFFF, memory=True)

    def telling(host: Host, *windows: Window, vga: bool | None = None, unread: str = "") -> Host:
        bridge: Known[Bridge | None] = Known(Bridge(1, 1, windows, vga, unread), host.name)
        return replace(host, functions={**host.functions, place: replace(host.functions[place], bridge=bridge)})

    merged = merge([telling(one, low, unread="cut"), telling(other, low, high, vga=True)]).functions[place].bridge
    assert value_of(merged, None) == Bridge(1, 1, (low, high), vga=True)
    merged = merge([telling(one, high, vga=False), telling(other, vga=True)]).functions[place].bridge
    assert value_of(merged, None) == Bridge(1, 1, (high,), vga=True)


def test_of_addresses_what_any_record_shows_counts() -> None:
    one, other = host_of(PORT, "one"), host_of(PORT, "two")
    place = at("01:00.0")
    first, second = Bar(0, 0x80000000, 0, memory=True), Bar(2, 0x90000000, 0x1000, memory=True)
    small = Rom(0xFE000000, 0, enabled=True)

    def telling(host: Host, sriov: Sriov | None, rom: Rom | None, *bars: Bar) -> Host:
        told = replace(host.functions[place], bars=Known(bars), sriov=Known(sriov), rom=Known(rom))
        return replace(host, functions={**host.functions, place: told})

    bare, sized = Sriov(8, 0, 0x160), Sriov(8, 0, 0x160, memory=False, bars=(first,))
    merged = merge([telling(one, bare, None, first), telling(other, sized, small, second)]).functions[place]
    assert value_of(merged.bars, None) == (first, second)
    assert value_of(merged.sriov, None) == sized
    assert value_of(merged.rom, None) == small
    moved = small._replace(start=0xFD000000)
    merged = merge([telling(one, bare, moved, first), telling(other, replace(bare, enabled=2), small)]).functions[place]
    assert isinstance(merged.rom, Unknown)
    assert isinstance(merged.sriov, Unknown)


def test_other_ids_at_one_address_are_a_disagreement() -> None:
    merged = merge([host_of(PORT, "one"), host_of(PORT.replace("[10de:1b80]", "[10de:1b81]"), "two")])
    gpu = merged.functions[at("01:00.0")]
    assert gpu.possible_ids == ((0x10DE, 0x1B80), (0x10DE, 0x1B81))
    assert any(gap.what == "ids of 0000:01:00.0" for gap in merged.gaps)


def test_another_class_at_one_address_is_none_that_is_told() -> None:
    other = PORT.replace("VGA compatible controller [0300]", "Non-Volatile memory controller [0108]")
    assert other != PORT
    for hosts in ([host_of(PORT, "one"), host_of(other, "two")], [host_of(other, "two"), host_of(PORT, "one")]):
        merged = merge(hosts)
        assert not merged.functions[at("01:00.0")].class_told
        assert not merge([merged, hosts[0]]).functions[at("01:00.0")].class_told, "no third one settles it"
        assert any(gap.what == "class of 0000:01:00.0" for gap in merged.gaps)


def test_what_records_tell_otherwise_of_an_iommu_is_not_told() -> None:
    def telling(name: str, *units: IommuUnit) -> Host:
        return replace(host_of(PORT, name), iommu_units=units)

    one = telling("one", IommuUnit("dmar0", "intel", (("cap", "d2008c40660462"), ("ecap", "f050da"))))
    other = telling(
        "two",
        IommuUnit("dmar0", "intel", (("cap", "d2078c106f0466"), ("version", "1:0"))),
        IommuUnit("dmar1", "intel", (("cap", "1"),)),
    )
    merged = merge([one, other])
    first, second = merged.iommu_units
    assert first == IommuUnit("dmar0", "intel", (("ecap", "f050da"), ("version", "1:0")))
    assert second == other.iommu_units[1]
    gap = next(gap for gap in merged.gaps if gap.what == "cap of dmar0")
    assert gap.why == "one: dmar0 says d2008c40660462, but two: dmar0 says d2078c106f0466"
    assert merge([one, one]).iommu_units == one.iommu_units
    assert merge([merged, one]).iommu_units == merge([one, merged]).iommu_units == merged.iommu_units


def test_the_same_groups_under_other_numbers_agree() -> None:
    merged = merge([host_of(PORT, "one"), host_of("8 0000:00:01.0\n9 0000:01:00.0\n", "two")])
    assert isinstance(merged.groups, Known)
    assert list(merged.groups.value) == [1, 2]
    assert not any(gap.what.startswith("group of") for gap in merged.gaps)


def test_other_groups_disagree() -> None:
    merged = merge([host_of(PORT, "one"), host_of("8 0000:00:01.0\n8 0000:01:00.0\n", "two")])
    assert isinstance(merged.functions[at("01:00.0")].group, Unknown)
    gap = next(gap for gap in merged.gaps if gap.what == "group of 0000:01:00.0")
    assert "alone" in gap.why
    assert "with 0000:00:01.0" in gap.why


def test_a_slot_assumed_to_be_single_gives_way_to_what_was_read() -> None:
    folder = read_host(str(CAPTURES / "linux-7.3-q35-amd-203.tar.xz"))
    paste = host_of(recorded_text(RENDERED / "linux-7.3-q35-amd-203.txt.xz"))
    for merged in (merge([folder, paste]), merge([paste, folder])):
        for address, function in folder.functions.items():
            assert isinstance(merged.functions[address].multifunction, Known)
            assert value_of(merged.functions[address].multifunction, None) == value_of(function.multifunction, None)
            assert isinstance(merged.functions[address].acs, Known)
        assert not predict(merged).undetermined
        assert predict(merged).groups == predict(folder).groups


def test_a_number_gives_way_to_the_bit_that_was_read() -> None:
    line = "03:00.2 Ethernet controller [0200]: Intel Corporation 82599ES [8086:10fb] (rev 01)\n"
    header = bytes.fromhex("8680fb100604100001000002").ljust(64, b"\0")
    dump = [f"{start:02x}: {header[start : start + 16].hex(' ')}" for start in range(0, 64, 16)]
    listed, dumped = host_of(line), host_of("\n".join([line.rstrip(), *dump, ""]))
    assert value_of(dumped.functions[at("03:00.2")].multifunction, None) is False
    for pair in ((listed, dumped), (dumped, listed)):
        both = merge(pair)
        assert both.functions[at("03:00.2")].multifunction == dumped.functions[at("03:00.2")].multifunction
        assert not any("multifunction" in gap.what for gap in both.gaps)


def _with_driver(driver: str | None, name: str) -> Host:
    return host_of(PORT.rstrip("\n") + ("\n\n" if driver is None else f"\n\tKernel driver in use: {driver}\n"), name)


@given(st.lists(st.sampled_from([None, "nvidia", "vfio-pci"]), min_size=2, max_size=5), st.data())
def test_a_fact_is_known_where_all_that_tell_it_agree_however_often_merged(
    drivers: list[str | None], data: st.DataObject
) -> None:
    hosts = [_with_driver(driver, f"record{n}") for n, driver in enumerate(drivers)]
    hosts = [_without_driver(host) if driver is None else host for host, driver in zip(hosts, drivers, strict=True)]
    while len(hosts) > 1:
        first = data.draw(st.integers(0, len(hosts) - 2))
        hosts[first : first + 2] = [merge(hosts[first : first + 2])]
    told = {driver for driver in drivers if driver is not None}
    found = hosts[0].functions[at("01:00.0")].driver
    assert isinstance(found, Known) == (len(told) == 1)
    assert any(gap.what == "driver of 0000:01:00.0" for gap in hosts[0].gaps) == (len(told) > 1)


def _without_driver(host: Host) -> Host:
    gpu = replace(host.functions[at("01:00.0")], driver=Unknown("not shown"))
    return replace(host, functions={**host.functions, gpu.address: gpu})


def test_a_third_record_settles_no_disagreement_about_ids() -> None:
    one, two = host_of(PORT, "one"), host_of(PORT.replace("[10de:1b80]", "[10de:1b81]"), "two")
    for hosts in ([merge([one, two]), one], [one, merge([one, two])], [one, two, one], [one, two, two]):
        gpu = merge(hosts).functions[at("01:00.0")]
        assert not gpu.ids_told
        assert len(gpu.possible_ids) == 2


def test_a_third_record_settles_no_disagreement_about_groups() -> None:
    one, two = host_of("1 0000:00:01.0\n2 0000:01:00.0\n", "one"), host_of("8 0000:00:01.0\n8 0000:01:00.0\n", "two")
    three = host_of(PORT, "three")
    for hosts in ([one, two, three], [merge([one, two]), three], [three, merge([two, one])]):
        merged = merge(hosts)
        assert isinstance(merged.functions[at("01:00.0")].group, Unknown)
        assert not isinstance(merged.groups, Known) or not any(merged.groups.value.values())


def test_another_bridge_above_leaves_the_place_unknown() -> None:
    one = host_of(PORT, "one")
    other = host_of(PORT.replace("00:01.0 PCI", "00:02.0 PCI"), "two")
    merged = merge([one, other])
    gpu = merged.functions[at("01:00.0")]
    assert (gpu.parent, gpu.parent_told) == (None, False)
    assert any(gap.what == "bridge above 0000:01:00.0" for gap in merged.gaps)


def test_a_third_record_settles_no_disagreement_about_places() -> None:
    one = host_of(PORT, "one")
    other = host_of(PORT.replace("00:01.0 PCI", "00:02.0 PCI"), "two")
    for third in (host_of(PORT, "three"), merge([one, host_of(PORT, "three")])):
        for hosts in ([one, other, third], [merge([one, other]), third], [third, merge([other, one])]):
            gpu = merge(hosts).functions[at("01:00.0")]
            assert (gpu.parent, gpu.parent_told) == (None, False)


def test_that_it_may_be_a_virtual_function_is_told_by_either() -> None:
    """And by none any more where one tells of which; where two tell different ones, it is of any."""
    card, first, second = at("01:00.0"), at("00:01.0"), at("00:02.0")

    def of(name: str, physical: Address | None = None, perhaps: bool = False) -> Host:
        host = host_of(PORT, name)
        told = replace(host.functions[card], physical_function=physical, perhaps_virtual=perhaps)
        return replace(host, functions={**host.functions, card: told})

    def merged(*hosts: Host) -> tuple[Address | None, bool]:
        both = {(f.physical_function, f.perhaps_virtual) for f in (merge(hosts).functions[card],)}
        backwards = {(f.physical_function, f.perhaps_virtual) for f in (merge(hosts[::-1]).functions[card],)}
        assert both == backwards
        return both.pop()

    assert merged(of("one"), of("two")) == (None, False)
    assert merged(of("one"), of("two", perhaps=True)) == (None, True)
    assert merged(of("one", first), of("two", perhaps=True)) == (first, False)
    assert merged(of("one", first), of("two", second)) == (None, True)
    assert merged(merge([of("one", first), of("two", second)]), of("three", first)) == (None, True)


def test_other_buses_of_a_bridge_leave_open_what_is_below_it() -> None:
    """That the card hangs below the port is told by the port's bus numbers alone."""
    for order in (1, -1):
        merged = merge([host_of(PORT, "one"), host_of(PORT.replace("secondary=01", "secondary=05"), "two")][::order])
        card = merged.functions[at("01:00.0")]
        assert (card.parent, card.parent_told) == (None, False)


def test_other_types_of_a_group_are_a_disagreement() -> None:
    def typed(kind: str, number: int) -> Host:
        host = host_of(PORT, f"type {kind}")
        assert isinstance(host.groups, Known)
        groups = {n + number: replace(g, number=n + number, type=Known(kind)) for n, g in host.groups.value.items()}
        return replace(host, groups=Known(groups))

    for number in (0, 100):
        merged = merge([typed("DMA", 0), typed("identity", number)])
        assert isinstance(merged.groups, Known)
        assert all(isinstance(group.type, Unknown) for group in merged.groups.value.values())
    same = merge([typed("DMA", 0), typed("DMA", 0)])
    assert isinstance(same.groups, Known)
    assert {value_of(group.type, None) for group in same.groups.value.values()} == {"DMA"}


def test_other_holders_are_a_disagreement() -> None:
    idle = replace(host_of(PORT, "idle"), holders=Known(()))
    busy = replace(host_of(PORT, "busy"), holders=Known((Holder(7, "qemu", (1,), ()),)))
    assert isinstance(merge([idle, busy]).holders, Unknown)
    assert merge([idle, host_of(PORT, "text")]).holders == Known(())


_REMAPPED = "[    0.2] DMAR-IR: Enabled IRQ remapping in x2apic mode\n"


@pytest.mark.parametrize(
    ("words", "log", "expected"),
    [
        ("quiet", _REMAPPED, True),
        ("intremap=nosid", _REMAPPED, False),
        ("intremap=off", _REMAPPED, None),
        ("nointremap", _REMAPPED, None),
        (
            "intremap=nosid",
            "[    0.2] AMD-Vi: Interrupt remapping enabled\n[    0.2] AMD-Vi: Extended features\n",
            True,
        ),
    ],
)
def test_the_command_line_has_a_say_in_remapping(words: str, log: str, expected: bool | None) -> None:
    """Told by the same text, or by another record: nobody checks who sends an interrupt with ``nosid``."""
    line = f"[    0.0] Command line: root=/dev/sda1 {words}\n"
    together = host_of(PORT + line + log)
    apart = merge([host_of(PORT + line, "one"), host_of(PORT + log, "two")])
    for host in (together, apart):
        assert value_of(host.interrupt_remapping, None) is expected


def test_other_classes_and_platforms_are_shown() -> None:
    one = replace(host_of(PORT, "one"), platform=Platform.X86)
    two = replace(
        host_of(PORT.replace("[0300]", "[0302]").replace("VGA comp", "3D comp"), "two"), platform=Platform.ARM
    )
    merged = merge([one, two])
    assert merged.platform is Platform.UNKNOWN
    assert {"platform", "class of 0000:01:00.0"} <= {gap.what for gap in merged.gaps}


def test_links_that_records_contradict_each_other_about_stay_unknown() -> None:
    listing = "".join(f"{0x10 + n:02x}:00.0 3D controller [0302]: NVIDIA X [10de:1db1]\n" for n in range(8))
    bare = host_of(listing)
    matrix = (LINKS / "topo-m-dgx1v-8xV100" / "topo.txt").read_bytes()
    swapped = matrix.replace(b"NV1", b"NVx").replace(b"NV2", b"NV1").replace(b"NVx", b"NV2")
    one = with_link_records(bare, {"one": matrix})
    other = with_link_records(bare, {"other": swapped})
    assert one.links_told
    assert other.links_told
    assert merge([one, bare, one]).links_told == one.links_told
    assert not any("Links" in gap.what for gap in merge([bare, one]).gaps)
    for hosts in ([one, other, one], [merge([one, other]), one], [one, merge([other, one])]):
        assert not merge(hosts).links_told
    assert not with_link_records(merge([one, other]), {"again": matrix}).links_told


_NUMBERS = st.dictionaries(
    st.integers(0, 6).map(lambda device: Address(0, 0, device, 0)), st.integers(0, 3), max_size=7
)


@given(_NUMBERS, _NUMBERS)
def test_joined_groups_hold_what_both_say_of_each_pair(one: dict[Address, int], other: dict[Address, int]) -> None:
    told = join(ToldGroups("one", one), ToldGroups("other", other))
    assert told.number.keys() | told.doubted.keys() == one.keys() | other.keys()
    assert not told.number.keys() & told.doubted.keys()
    for source in (one, other):
        for a in told.number.keys() & source.keys():
            for b in told.number.keys() & source.keys():
                assert (told.number[a] == told.number[b]) == (source[a] == source[b])


@given(_NUMBERS)
def test_a_list_agrees_with_itself(one: dict[Address, int]) -> None:
    told = join(ToldGroups("one", one), ToldGroups("again", one))
    assert (dict(told.number), dict(told.doubted)) == (one, {})


def test_buses_that_count_upwards_are_no_line_numbers() -> None:
    lines = [f"{bus}:00.0 3D controller [0302]: NVIDIA X [10de:1db1]" for bus in range(10, 30)]
    host = read_text("\n".join(lines).encode(), name="paste")
    assert [str(address)[5:] for address in host.functions] == [f"{bus}:00.0" for bus in range(10, 30)]
    counted = [f"{number}:{line}" for number, line in enumerate(lines, 1)]
    assert read_text("\n".join(counted).encode(), name="paste").functions == host.functions
