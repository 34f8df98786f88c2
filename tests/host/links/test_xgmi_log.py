"""Hives of XGMI as amdgpu names them in the kernel's log."""

from __future__ import annotations

from atoll.host.links.read import is_link_record, read_link_records
from atoll.host.links.xgmi_log import parse_hives
from atoll.host.model import EndKind, Function, LinkKind
from atoll.host.records.content import read_record
from atoll.pci.address import Address
from host.records.paste import at, host_of

_PLACES = ("05:00.0", "26:00.0", "46:00.0", "65:00.0")
_LISTED = "".join(f"{place} Processing accelerators [1200]: AMD Some GPU [1002:74a1]\n" for place in _PLACES)


def _joined(place: str, hive: int, prefix: str = "[   15.1] ", by: str = "amdgpu: ") -> str:
    return f"{prefix}amdgpu 0000:{place}: {by}XGMI: Add node 3, hive {hive:#x}.\n"


def _functions() -> dict[Address, Function]:
    return dict(host_of(_LISTED).functions)


def test_members_of_one_hive_reach_each_other() -> None:
    text = "".join(_joined(place, 0x77 if n < 2 else 0x25BBAE7E3FD04CF4) for n, place in enumerate(_PLACES))
    (told,) = read_link_records({"dmesg": text.encode()}, _functions()).sources
    assert not told.told, "which links there are it does not say"
    assert {link.kind for link in told.links} == {LinkKind.XGMI}
    assert [(str(link.a.function)[5:], link.b.kind, link.b.name) for link in told.links] == [
        (place, EndKind.SWITCH, f"XGMI hive {0x77 if n < 2 else 0x25BBAE7E3FD04CF4:#x}")
        for n, place in enumerate(_PLACES)
    ]
    assert "boot log (dmesg)" in told.source


def test_forms_and_what_is_no_hive() -> None:
    text = (
        _joined(_PLACES[0], 7, prefix="Mar 03 10:11:12 host kernel: ")
        + _joined(_PLACES[1], 7, by="")
        + _joined(_PLACES[2], 0)
        + "amdgpu 0000:65:00.0: amdgpu: XGMI: Failed to add node 3, hive 0x7 ret: -22\n"
        + "amdgpu nowhere: amdgpu: XGMI: Add node 3, hive 0x7.\n"
    )
    assert parse_hives(text) == {7: (at(_PLACES[0]), at(_PLACES[1]))}
    assert parse_hives(_joined(_PLACES[0], 7) + _joined(_PLACES[0], 8)) == {8: (at(_PLACES[0]),)}


def test_alone_in_a_hive_is_no_link_and_another_machine_s_is_a_gap() -> None:
    text = _joined(_PLACES[0], 7) + _joined("99:00.0", 7)
    (told,) = read_link_records({"dmesg": text.encode()}, _functions()).sources
    assert not told.links
    assert [gap.what for gap in told.gaps] == ["XGMI links of 0000:99:00.0"]


def test_it_counts_beside_what_else_a_text_shows() -> None:
    text = _LISTED + "".join(_joined(place, 7) for place in _PLACES)
    record = read_record(text.encode(), name="post")
    assert record.host is not None
    assert record.links is not None
    assert not is_link_record(_LISTED.encode())
