"""Pasted texts come from strangers: nothing but InputError, whatever the bytes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import InputError
from atoll.host.records.merge.hosts import merge
from atoll.isolation.groups import predict
from host.records.paste import PORT, RENDERED, host_of, recorded_text

_LINES = [
    *PORT.splitlines(),
    *("IOMMU Group 1:", "IOMMU Group 99999999999 00:01.0 x: y", "1 0000:00:01.0", "2 0000:00:01.0", "Group"),
    *("/sys/kernel/iommu_groups/1/devices/", "iommu_groups/x/devices/0000:00:01.0", "x/iommu_group -> iommu_groups/1"),
    *("pci 0000:00:01.0: Adding to iommu group x", "Linux version", "Command line:", "Adding device  to group "),
    *("00:01.0/ff.9 PCI bridge: x", "00:01.0/00.0/00.0/00.0 A: b", "00:01.0/02:00.0 A: b", "ffffffff:ff:1f.7 A: b"),
    *("\tBus: primary=zz, secondary=, subordinate", "\tBus: primary=00, secondary=00, subordinate=ff"),
    *("00: zz", "fff: 00"),
    *("00: 86 80 01 19", "10: ff"),
    *("\tRegion 9: Memory at zz [size=9999999999999T]", "\tCapabilities: [zz] Express (v9)"),
    *("\tCapabilities: [100] Single Root I/O Virtualization", "\t\tIOVCtl: Enable+", "\t\tVF offset: 1, stride: 0",),
    *("\t\tInitial VFs: 1, Total VFs: 9, Number of VFs: 65535, x", "[8086:1901] type 01 class 0xzz", "> > >", ">"),
    *("pci 0000:00:01.0: [8086:1901] type 7f class 0xffffff", "AMD-Vi: ", "DMAR", "\tNUMA node: x", "\tSubsystem:"),
]  # fmt: skip


def _read(data: bytes) -> None:
    try:
        host = host_of(data)
    except InputError:
        return
    predict(host)
    merge([host, host_of(PORT, "other"), host])


@given(st.binary(max_size=400))
def test_bytes(data: bytes) -> None:
    _read(data)


@given(st.lists(st.sampled_from(_LINES), max_size=40))
@settings(max_examples=200)
def test_lines_in_any_order(lines: list[str]) -> None:
    _read("\n".join(lines).encode())


@given(st.data())
@settings(max_examples=60)
def test_a_real_text_with_a_piece_replaced(data: st.DataObject) -> None:
    text = recorded_text(RENDERED / "linux-7.3-q35-amd-206.txt.xz")[:12000]
    start = data.draw(st.integers(0, len(text)))
    end = min(len(text), start + data.draw(st.integers(0, 200)))
    _read(text[:start] + data.draw(st.binary(max_size=20)) + text[end:])


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 1_000_000,
        "00:01.0 PCI bridge: x\n" + "more\n" * 300_000,
        "00:01.0 PCI bridge: x\n" + "\tCapabilities: [40] Express (v2) Endpoint\n" * 100_000,
        "00:01.0/" * 100_000 + "00.0 A: b\n",
        ">" * 1_000_000,
        "pci 0000:00:01.0: Adding to iommu group 1\n" * 100_000,
    ],
)
def test_long_texts_take_time_in_proportion(text: str) -> None:
    start = time.process_time()
    _read(text.encode())
    assert time.process_time() - start < 60


def test_nothing_that_is_known_is_an_error_with_a_hint() -> None:
    with pytest.raises(InputError) as caught:
        host_of("Dear list,\n\nmy computer does not work.\n")
    assert "lspci" in caught.value.hint


def test_more_functions_than_a_machine_has_are_refused() -> None:
    """Their number, not their bytes, is what reading and reasoning take time by."""
    lines = (f"{i >> 8:04x}:{i & 255:02x}:00.0 VGA [0300]: X [10de:1db1]\n" for i in range((1 << 15) + 1))
    with pytest.raises(InputError, match="more than 32768 times") as raised:
        host_of("".join(lines))
    assert raised.value.hint
