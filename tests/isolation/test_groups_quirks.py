"""Groups where Linux goes by device id: the ACS table. DMA aliases: ``test_groups_aliases``."""

from __future__ import annotations

from dataclasses import replace

import pytest
from groups_hosts import ACS_OFF, ACS_ON, at, function, groups, host, port

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Group, IommuUnit
from atoll.isolation.groups import Prediction, predict
from atoll.pci.acs import REDIRECTING, Acs, AcsFlag
from atoll.pci.header import PortType


def _below(ids: tuple[int, int], acs: Acs | None = None, *, kernel: tuple[int, int] | None = (6, 12)) -> Prediction:
    return predict(host([port("00:1c.0", 1, acs=acs, ids=ids), function("01:00.0", "00:1c.0")], kernel=kernel))


@pytest.mark.parametrize(
    "ids",
    [
        (0x17CB, 0x0400),  # Qualcomm
        (0x177D, 0xA002),  # ThunderX 1, by range
        (0x177D, 0xAF84),  # ThunderX 2
        (0x10E8, 0xE004),  # X-Gene
        (0x14E4, 0xD714),  # Broadcom
        (0x0014, 0x7A29),  # Loongson
        (0x1C36, 0x0031),  # Annapurna
        (0x1957, 0x8D80),  # NXP
        (0x1D17, 0x0725),  # Zhaoxin
    ],
)
def test_root_ports_taken_as_isolating(ids: tuple[int, int]) -> None:
    found = _below(ids, kernel=(7, 3))
    assert found.groups == groups("00:1c.0", "01:00.0")
    assert not found.undetermined


def test_other_root_ports_of_these_vendors_are_not() -> None:
    assert len(_below((0x177D, 0xB000)).groups) == 1


def test_a_vendor_denied_by_name_fails_even_with_acs_on() -> None:
    assert len(_below((0x1D17, 0x9999), ACS_ON).groups) == 1


def test_chipset_ports_rest_on_registers_no_record_shows() -> None:
    found = _below((0x8086, 0x8C10))
    assert found.groups == groups("00:1c.0", "01:00.0")
    ((address, why),) = found.undetermined
    assert address == at("01:00.0")
    assert why.endswith("(RCBA, pci_quirk_intel_pch_acs): dmesg from the boot on tells")
    # The port is in its group for sure, and who else is in it is not.
    assert list(found.company) == [at("00:1c.0")]
    assert "whether 0000:01:00.0 is in its group" in found.open_about(at("00:1c.0"))
    assert found.open_about(at("01:00.0")) == why


@pytest.mark.parametrize(
    ("numbers", "line", "known"),
    [((1, 2), "quiet", True), ((1, 1), "quiet", False), ((1, 2), "pcie_acs_override=downstream", False)],
)
def test_groups_of_chipset_ports_may_show_those_registers(numbers: tuple[int, int], line: str, *, known: bool) -> None:
    """The registers are the chipset's: what tells 00:1c.0 and 00:1c.1 apart counts for 00:1d.0, not on other buses."""
    ports = [
        port(place, number, acs=None, ids=(0x8086, 0x8C10), multifunction=True)
        for place, number in (("00:1c.0", 1), ("00:1c.1", 2), ("00:1d.0", 3), ("80:1c.0", 0x81))
    ]
    ports[:2] = [replace(f, group=Known(number)) for f, number in zip(ports, numbers, strict=False)]
    places = (("01:00.0", "00:1c.0"), ("03:00.0", "00:1d.0"), ("81:00.0", "80:1c.0"))
    below = [function(place, parent) for place, parent in places]
    found = predict(replace(host([*ports, *below], kernel=None), command_line=Known(line)))
    opened = {address for address, _ in found.undetermined}
    assert (opened & {at("01:00.0"), at("03:00.0")} == set()) is known
    assert at("81:00.0") in opened


def test_the_boot_log_may_tell_those_registers() -> None:
    functions = [port("00:1c.0", 1, acs=None, ids=(0x8086, 0x8C10)), function("01:00.0", "00:1c.0")]
    for done, expected in ((True, groups("00:1c.0", "01:00.0")), (False, groups("00:1c.0 01:00.0"))):
        told = [replace(functions[0], chipset_acs=Known(done)), functions[1]]
        found = predict(host(told))
        assert found.groups == expected
        assert not found.undetermined


def test_dword_registers_read_as_words_are_not_believed() -> None:
    wrong = Acs(REDIRECTING, AcsFlag(0), 0x140, 0x146)
    right = Acs(REDIRECTING, AcsFlag(0), 0x140, 0x148)
    assert _below((0x8086, 0xA294), wrong).undetermined
    found = _below((0x8086, 0xA294), right)
    assert len(found.groups) == 1
    assert not found.undetermined


@pytest.mark.parametrize(("line", "known"), [("quiet", True), ("pci=disable_acs_redir=pci:0:0", False)])
def test_the_boot_log_may_tell_what_was_written_to_dword_registers(line: str, *, known: bool) -> None:
    """``pci_quirk_enable_intel_spt_pch_acs`` says so; ``pci_disable_acs_redir`` comes after it."""
    misread = Acs(REDIRECTING, AcsFlag(0), 0x140, 0x146)
    shown: tuple[Fact[Acs | None], ...] = (Known(misread), Unknown("lspci misreads it"))
    for acs in shown:
        top = replace(port("00:1c.0", 1, ids=(0x8086, 0xA294)), acs=acs, chipset_acs=Known(True))
        found = predict(replace(host([top, function("01:00.0", "00:1c.0")]), command_line=Known(line)))
        assert found.groups == groups("00:1c.0", "01:00.0")
        assert (not found.undetermined) is known
    off = replace(top, acs=Known(Acs(REDIRECTING, AcsFlag(0), 0x140, 0x148)))
    assert len(predict(host([off, function("01:00.0", "00:1c.0")])).groups) == 1, "a dump shows that it is off"


def test_broken_source_validation_counts_as_on_from_7_0() -> None:
    acs = Acs(ACS_OFF.capability, REDIRECTING & ~AcsFlag.SV, 0x148, 0x14E)
    idt = (0x111D, 0x80B5)
    assert len(_below(idt, acs, kernel=(7, 0)).groups) == 2
    assert len(_below(idt, acs, kernel=(6, 12)).groups) == 1
    assert _below(idt, acs, kernel=None).undetermined


@pytest.mark.parametrize(
    ("ids", "since"),
    [
        ((0x177D, 0xAF84), (5, 5)),  # Cavium ThunderX2
        ((0x1D17, 0x0710), (5, 7)),  # Zhaoxin
        ((0x1957, 0x8D81), (5, 15)),  # NXP
        ((0x1D17, 0x0733), (6, 8)),  # Zhaoxin, new ones
        ((0x17CB, 0x0115), (6, 12)),  # Qualcomm SA8775P
        ((0x0014, 0x7A29), (6, 16)),  # Loongson
        ((0x17CB, 0x0111), (7, 0)),  # Qualcomm Hamoa
    ],
)
def test_rows_added_later_are_open_on_older_kernels(ids: tuple[int, int], since: tuple[int, int]) -> None:
    before = (since[0], since[1] - 1) if since[1] else (6, 19)
    assert not _below(ids, kernel=since).undetermined
    ((address, why),) = _below(ids, kernel=before).undetermined
    assert address == at("01:00.0")
    assert "has the quirk that decides" in why


def test_where_no_release_is_known_the_reason_says_what_tells_it() -> None:
    ((_, why),) = _below((0x17CB, 0x0400), kernel=None).undetermined
    assert "an unknown release: add what uname -a prints" in why


def test_a_vendors_list_that_is_shorter_says_no_though_acs_is_on() -> None:
    assert not _below((0x1D17, 0x0733), ACS_ON, kernel=(6, 8)).undetermined
    assert _below((0x1D17, 0x0733), ACS_ON, kernel=(6, 7)).undetermined
    assert not _below((0x0014, 0x7A29), ACS_ON, kernel=(6, 7)).undetermined


def _slot(ids: tuple[int, int], kind: PortType = PortType.ENDPOINT, unit: str = "intel") -> int:
    members = [function(f"00:14.{n}", None, kind, ids=ids, multifunction=True) for n in range(2)]
    return len(predict(host(members, units=(IommuUnit("unit0", unit),))).groups)


def test_network_cards_declared_isolated() -> None:
    assert _slot((0x8086, 0x10FB)) == 2
    assert _slot((0x14E4, 0x1750)) == 2
    assert _slot((0x8086, 0x1234)) == 1


def test_intel_root_complex_endpoints() -> None:
    assert _slot((0x8086, 0x1234), PortType.ROOT_INTEGRATED) == 2
    assert _slot((0x1022, 0x1234), PortType.ROOT_INTEGRATED) == 1


@pytest.mark.parametrize(
    ("numbers", "line", "known"),
    [((1, 2), None, True), ((1, 1), None, False), ((1, 2), "pcie_acs_override=multifunction", False)],
)
def test_recorded_groups_may_show_that_the_kernel_has_a_row(
    numbers: tuple[int, int], line: str | None, known: bool
) -> None:
    """Nothing but the row tells 00:14.0 and 00:14.1 apart; once it is there, it counts for 00:15.x too."""
    places = ("00:14.0", "00:14.1", "00:15.0", "00:15.1")
    kind, ids = PortType.ROOT_INTEGRATED, (0x8086, 0x1234)
    found = [function(place, None, kind, ids=ids, multifunction=True) for place in places]
    found[:2] = [replace(f, group=Known(number)) for f, number in zip(found, numbers, strict=False)]
    whole = host(found, kernel=None)
    whole = replace(whole, command_line=Known(line) if line is not None else whole.command_line)
    assert bool(predict(whole).undetermined) is not known
    assert predict(replace(whole, overrides_acs=Known(True))).undetermined, "an override may have told them apart"


def test_what_isolates_by_itself_shows_no_row() -> None:
    kind, ids = PortType.ROOT_INTEGRATED, (0x8086, 0x1234)
    shown = [function(f"00:14.{n}", None, kind, ids=ids, multifunction=True, acs=ACS_ON) for n in (0, 1)]
    shown = [replace(f, group=Known(n)) for n, f in enumerate(shown, start=1)]
    others = [function(f"00:15.{n}", None, kind, ids=ids, multifunction=True) for n in (0, 1)]
    opened = {address for address, _ in predict(host([*shown, *others], kernel=None)).undetermined}
    assert opened == {at("00:15.0"), at("00:15.1")}


@pytest.mark.parametrize(
    ("apart", "numbers", "known"),
    [
        ((0x1022, 0x780F), (1, 2), True),
        # A mate that isolates on no kernel.
        ((0x1022, 0x1439), (1, 2), True),
        ((0x1022, 0x1439), (1, 1), False),
        # The mate's row alone may have parted them.
        ((0x1022, 0x7809), (1, 2), False),
    ],
)
def test_a_southbridges_row_shows_in_groups(apart: tuple[int, int], numbers: tuple[int, int], *, known: bool) -> None:
    shown = [
        function(place, None, PortType.CONVENTIONAL, ids=ids, multifunction=True)
        for place, ids in (("00:14.4", (0x1022, 0x780F)), ("00:14.5", apart))
    ]
    shown = [replace(f, group=Known(number)) for f, number in zip(shown, numbers, strict=True)]
    others = [
        function(place, None, PortType.CONVENTIONAL, ids=ids, multifunction=True)
        for place, ids in (("00:15.0", (0x1022, 0x780F)), ("00:15.1", (0x1022, 0x1439)))
    ]
    found = predict(host([*shown, *others], units=(IommuUnit("ivhd0", "amd"),), kernel=None)).undetermined
    assert (at("00:15.0") not in {address for address, _ in found}) is known


def test_amd_southbridge_needs_an_amd_iommu() -> None:
    assert _slot((0x1022, 0x780F), PortType.CONVENTIONAL, "amd") == 2
    assert _slot((0x1022, 0x780F), PortType.CONVENTIONAL, "intel") == 1


def test_wangxun() -> None:
    assert _slot((0x8088, 0x1001)) == 2
    assert _slot((0x8088, 0x4321)) == 1


@pytest.mark.parametrize(("device", "apart"), [(0x1001, True), (0x4321, False)])
def test_wangxun_cards_go_by_their_ids_whatever_their_type(device: int, apart: bool) -> None:
    """``pci_quirk_wangxun_nic_acs`` asks for nothing else."""
    unread = [
        replace(function(f"00:02.{number}", ids=(0x8088, device), multifunction=True), port_type=Unknown("not read"))
        for number in (0, 1)
    ]
    found = predict(host(unread))
    assert len(found.groups) == (2 if apart else 1)
    assert not found.undetermined


def test_what_has_long_been_in_the_table_is_known_of_older_kernels() -> None:
    assert not _below((0x177D, 0xA000), kernel=(5, 4)).undetermined
    cards = [function(f"00:14.{n}", ids=(0x8086, 0x1521), multifunction=True) for n in range(2)]
    complexes = [
        function(f"00:16.{n}", None, PortType.ROOT_INTEGRATED, ids=(0x8086, 0x9A60), multifunction=True)
        for n in range(2)
    ]
    found = predict(host([*cards, *complexes], kernel=(5, 15)))
    assert found.groups == groups("00:14.0", "00:14.1", "00:16.0", "00:16.1")
    assert not found.undetermined
    found = predict(host([*cards, *complexes], kernel=(5, 7)))
    assert [str(address) for address, _ in found.undetermined] == ["0000:00:16.0", "0000:00:16.1"]


def test_quirks_of_kernels_not_compared_are_open_where_they_decide() -> None:
    for kernel in ((5, 3), None):
        found = _below((0x177D, 0xAF84), kernel=kernel)
        assert found.groups == groups("00:1c.0", "01:00.0")
        assert [address for address, _ in found.undetermined] == [at("01:00.0")]
    # Where the registers say the same, it does not matter.
    assert not _below((0x177D, 0xAF84), ACS_ON, kernel=(5, 3)).undetermined


def test_a_downstream_port_right_below_another_is_an_upstream_port() -> None:
    members = [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", PortType.DOWNSTREAM, acs=None),
        port("02:00.0", 3, "01:00.0", PortType.DOWNSTREAM),
        function("03:00.0", "02:00.0"),
    ]
    assert [len(group) for group in predict(host(members)).groups] == [1, 1, 1, 1]


def test_ids_that_the_record_does_not_show_matter_only_where_a_quirk_could() -> None:
    def slot(vendor: int | None, class_code: int) -> Prediction:
        pair = [function("00:03.0", multifunction=True, ids=(0xFFFF, 0xFFFF), class_code=class_code),
                function("00:03.1", multifunction=True, ids=(0xFFFF, 0xFFFF), class_code=class_code)]  # fmt: skip
        return predict(host([replace(f, possible_ids=((vendor, None),)) for f in pair]))

    audio, network = 0x040300, 0x020000
    assert slot(0x8086, audio) == slot(0x10DE, network)
    assert not slot(0x8086, audio).undetermined
    assert slot(0x8086, network).undetermined
    assert slot(None, audio).undetermined


def test_acs_that_was_read_rules_out_root_ports_that_have_none() -> None:
    def below(acs: Acs | None) -> Prediction:
        above = port("00:1b.0", 1, acs=acs, ids=(0xFFFF, 0xFFFF))
        return predict(host([replace(above, possible_ids=((0x8086, None),)), function("01:00.0", "00:1b.0")]))

    assert not below(ACS_ON).undetermined
    assert below(ACS_ON).groups == groups("00:1b.0", "01:00.0")
    assert below(ACS_OFF).undetermined
    assert below(None).undetermined


def test_the_iommu_of_older_amd_chipsets_has_the_vendor_id_of_ati() -> None:
    slot = [
        function(f"00:14.{n}", None, PortType.CONVENTIONAL, multifunction=True, ids=(0x1002, device))
        for n, device in ((0, 0x4385), (3, 0x439D))
    ]
    unit = function("00:00.2", None, PortType.CONVENTIONAL, ids=(0x1002, 0x5A23), class_code=0x080600)
    lost = Unknown("the text does not tell")
    members = [replace(f, iommu=lost) for f in (*slot, unit)]
    recorded = (Group(0, (at("00:14.0"),)), Group(1, (at("00:14.3"),)))
    found = predict(host(members, recorded=recorded, units=()))
    assert found.groups == groups("00:14.0", "00:14.3")
    assert not found.undetermined
