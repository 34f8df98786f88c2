"""The quirk tables against the id lists as they were read off the kernel's source (tests/data/quirk-ids.tsv)."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.pci.acs import REDIRECTING
from atoll.pci.quirks.acs import (
    CLAIMED,
    AcsHandler,
    acs_handlers,
    is_cavium_root_port,
    is_intel_pch_root_port,
    is_intel_spt_root_port,
    is_wangxun_nic,
    is_zhaoxin_port,
)
from atoll.pci.quirks.aliases import (
    BRIDGE_ALIAS,
    BRIDGE_NO_ALIAS,
    BRIDGE_TRANSLATION_ROOT,
    SWITCHTEC_NTB,
    dma_alias_mask,
    is_one_of,
)


def _rows() -> list[tuple[str, str, int, int | None]]:
    rows = []
    for line in (Path(__file__).parents[1] / "data" / "quirk-ids.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            subject, handler, vendor, device = line.split("\t")
            rows.append((subject, handler, int(vendor, 16), None if device == "any" else int(device, 16)))
    return rows


_ROWS = _rows()


def _ids(subject: str) -> list[tuple[int, int]]:
    found = [(vendor, device) for row, _, vendor, device in _ROWS if row == subject and device is not None]
    assert found
    return found


def test_every_listed_id_asks_its_handler_in_the_tables_order() -> None:
    table = [row for row in _ROWS if row[0] == "acs-enabled"]
    assert len(table) == 132
    for _, _, vendor, device in table:
        wanted = [
            handler
            for _, handler, its_vendor, its_device in table
            if its_vendor == vendor and its_device in (device, None)
        ]
        assert list(acs_handlers(vendor, device if device is not None else 0xFFFF)) == wanted


def test_what_the_table_does_not_list_asks_nobody() -> None:
    assert acs_handlers(0x1AF4, 0x1000) == ()
    assert acs_handlers(0x1022, 0x1234) == ()


def test_every_handler_but_the_one_that_reads_registers_claims_something() -> None:
    assert set(AcsHandler) - set(CLAIMED) == {AcsHandler.INTEL_SPT_PCH}
    lesser = {handler for handler, flags in CLAIMED.items() if flags & REDIRECTING != REDIRECTING}
    assert lesser == {AcsHandler.AMD_SB}


def test_intel_chipset_root_ports() -> None:
    listed = {device for _, device in _ids("intel-pch-root-port")}
    assert len(listed) == 119
    assert {device for device in range(0x10000) if is_intel_pch_root_port(device)} == listed


def test_ranges() -> None:
    assert sum(map(is_intel_spt_root_port, range(0x10000))) == 16 + 4 + 16 + 8 + 12
    assert sum(map(is_cavium_root_port, range(0x10000))) == 0x800 + 2
    assert sum(map(is_zhaoxin_port, range(0x10000))) == 15 + 1 + 48
    assert sum(map(is_wangxun_nic, range(0x10000))) == 16 + 8


@pytest.mark.parametrize(
    ("subject", "devfn", "expected"),
    [
        ("dma_func0_alias", 0x1B, {0x18}),
        ("dma_func0_alias", 0x18, set()),
        ("dma_func1_alias", 0x18, {0x19}),
        ("dma_func1_alias", 0x19, set()),
        ("mic_x200_dma_alias", 0, {0x80, 0x88, 0x93}),
        ("plx_ntb_dma_alias", 0, set(range(256))),
        ("pex_vca_alias", 0, {devfn for devfn in range(256) if devfn & 7 < 5}),
    ],
)
def test_alias_masks(subject: str, devfn: int, expected: set[int]) -> None:
    for vendor, device in _ids(subject):
        assert dma_alias_mask(vendor, device, None, devfn) == expected


def test_fixed_aliases_go_by_subsystem() -> None:
    assert dma_alias_mask(0x9005, 0x0285, (0x9005, 0x02BC), 0) == {8}
    assert dma_alias_mask(0x9005, 0x0285, None, 0) == frozenset()
    assert _ids("fixed_dma_alias") == [(0x9005, 0x0285)]
    assert all(is_one_of(BRIDGE_NO_ALIAS, *pair) for pair in _ids("bridge_no_alias"))
    assert dma_alias_mask(0x1AF4, 0x1000, None, 0) == frozenset()


def test_bridges() -> None:
    assert all(is_one_of(BRIDGE_ALIAS, *ids) for ids in _ids("use_pcie_bridge_dma_alias"))
    assert all(is_one_of(BRIDGE_TRANSLATION_ROOT, *ids) for ids in _ids("bridge_cavm_thrx2_pcie_root"))


def test_switchtec() -> None:
    for vendor, device in _ids("switchtec-ntb-dma-alias"):
        # Of two makers: the PCI100x parts are EFAR's (SWITCHTEC_PCI100X_QUIRK).
        assert is_one_of(SWITCHTEC_NTB, vendor, device)
    assert sum(map(len, SWITCHTEC_NTB.values())) == len(_ids("switchtec-ntb-dma-alias"))
