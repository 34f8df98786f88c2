"""Which devices may have links of which no source told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import endpoint

from atoll.fabric.families import family, has_cpu_links, possible_cpu_links, possible_kinds, possible_xgmi_to_cpu
from atoll.host.model import UNTOLD_CLASS, LinkKind

NVLINK, XGMI, NTB = LinkKind.NVLINK, LinkKind.XGMI, LinkKind.NTB
OF_ACCELERATORS = frozenset(LinkKind) - {LinkKind.C2C, LinkKind.XE_LINK, LinkKind.NEURONLINK, LinkKind.ICI, NTB}


@pytest.mark.parametrize(
    ("vendor", "device", "kind"),
    [
        (0x10DE, 0x1DB1, NVLINK),  # V100 SXM2
        (0x10DE, 0x15F9, NVLINK),  # P100 SXM2
        (0x10DE, 0x20B0, NVLINK),  # A100 SXM4
        (0x10DE, 0x2330, NVLINK),  # H100 SXM5
        (0x10DE, 0x2901, NVLINK),  # B200
        (0x10DE, 0x1AF1, NVLINK),  # NVSwitch
        (0x10DE, 0x1E84, NVLINK),  # GeForce RTX 2070 SUPER
        (0x10DE, 0x1EB8, None),  # T4
        (0x10DE, 0x1B06, None),  # GTX 1080 Ti
        (0x1002, 0x74A1, XGMI),  # MI300X
        (0x1002, 0x740C, XGMI),  # MI250X
        (0x1002, 0x73BF, None),  # RX 6900
        (0x10DE, 0x2B85, None),  # GeForce RTX 5090
        (0x10DE, 0x2C02, None),  # GeForce RTX 5080
        (0x10DE, 0x3182, NVLINK),  # B300
        (0x10DE, 0x3400, NVLINK),  # not known here: newer
        (0x8086, 0x1DB1, None),
    ],
)
def test_families(vendor: int, device: int, kind: LinkKind | None) -> None:
    assert family(vendor, device) is kind
    assert possible_kinds(endpoint("01:00.0", ids=(vendor, device), class_code=0x030200)) == ({kind} if kind else set())


def test_an_accelerator_of_amds_that_is_not_known_may_have_links() -> None:
    assert possible_kinds(endpoint("01:00.0", ids=(0x1002, 0x7FFF), class_code=0x120000)) == {XGMI}
    assert possible_kinds(endpoint("01:00.0", ids=(0x1002, 0x7FFF), class_code=0x030000)) == set()
    assert possible_kinds(endpoint("01:00.0", ids=(0x1022, 0x17F0), class_code=0x118000)) == set(), "an NPU"


@pytest.mark.parametrize(
    ("ids", "class_code", "kinds"),
    [
        ((0x8086, 0x0BD5), 0x038000, {LinkKind.XE_LINK}),  # Data Center GPU Max 1550
        ((0x8086, 0x56C0), 0x038000, set()),  # Data Center GPU Flex 170
        ((0x19E5, 0xD802), 0x120000, {LinkKind.HCCS}),  # Ascend 910B
        ((0x19E5, 0xD500), 0x120000, set()),  # Ascend 310P
        ((0x1D0F, 0x7164), 0x088000, {LinkKind.NEURONLINK}),  # Trainium
        ((0xCABC, 0x0370), 0x120000, {LinkKind.MLU_LINK}),
        ((0x1E52, 0x401E), 0x120000, {LinkKind.TENSTORRENT}),
        ((0x1E52, 0xFACA), 0x120000, set()),  # Grayskull
        ((0x1D94, 0x54B7), 0x038000, {XGMI}),  # Z100
        ((0x1D94, 0x1456), 0x108000, set()),  # the same maker's cryptographic coprocessor
        ((0x1002, 0x73AB), 0x030000, {XGMI}),  # Radeon Pro W6800X Duo
        ((0x1AE0, 0x0062), 0xFF0000, {LinkKind.ICI}),  # TPU v5p
        ((0x9999, 0x4001), 0x038000, {LinkKind.OTHER}),  # MetaX C500
        ((0x1E3E, 0x0002), 0x120000, {LinkKind.OTHER}),  # Iluvatar
        ((0x9999, 0x4001), 0x030000, set()),  # what draws is bought for that
        ((0x17CB, 0xA100), 0x120000, set()),  # Cloud AI 100
        ((0x10EE, 0x5020), 0x120000, set()),  # Alveo
        ((0x1AF4, 0x1050), 0x038000, set()),  # virtio-gpu
        ((0x8086, 0x7D1D), 0x120000, set()),  # the NPU of a processor
        ((0x8086, 0x6F0D), 0x068000, {NTB}),
        ((0x1022, 0x148B), 0x068000, {NTB}),
        ((0x10B5, 0x87B0), 0x068000, {NTB}),
        ((0x11F8, 0x8536), 0x068000, {NTB}),
        ((0x11F8, 0x8536), 0x058000, set()),  # the management endpoint of the same switch
        ((0x8086, 0x8C5C), 0x068000, set()),
    ],
)
def test_interconnects_of_other_makers(ids: tuple[int, int], class_code: int, kinds: set[LinkKind]) -> None:
    assert possible_kinds(endpoint("01:00.0", ids=ids, class_code=class_code)) == kinds


def test_links_to_the_processor() -> None:
    assert has_cpu_links(0x10DE, 0x1DB1, powernv=True)
    assert not has_cpu_links(0x10DE, 0x1DB1, powernv=False)
    assert has_cpu_links(0x10DE, 0x2342, powernv=False), "GH200"
    assert has_cpu_links(0x10DE, 0x2E12, powernv=False), "GB10"
    assert has_cpu_links(0x10DE, 0x3400, powernv=False), "not known here: newer"
    assert not has_cpu_links(0x10DE, 0x2B85, powernv=False), "GeForce RTX 5090"
    assert not has_cpu_links(0x1002, 0x2342, powernv=True)


@pytest.mark.parametrize(
    ("possible", "class_code", "kinds"),
    [
        (((None, None),), 0x030200, {NVLINK, XGMI, LinkKind.MTLINK, LinkKind.OTHER}),
        (((None, None),), 0x038000, {NVLINK, XGMI, LinkKind.MTLINK, LinkKind.XE_LINK, LinkKind.OTHER}),
        (((None, None),), 0x120000, OF_ACCELERATORS),
        (((None, None),), 0x068000, {NVLINK, XGMI, NTB}),
        (((None, None),), 0x020000, set()),
        (((0x10DE, None),), 0x030200, {NVLINK}),
        (((0x1002, None),), 0x030000, {XGMI}),
        (((0x8086, None),), 0x030000, set()),
        (((0x8086, None),), 0x038000, {LinkKind.XE_LINK}),
        (((0x10DE, 0x1EB8), (0x10DE, 0x1DB1)), 0x030200, {NVLINK}),
        (((0x10DE, 0x1EB8), (0x10DE, 0x1B06)), 0x030200, set()),
        # lspci -t shows no class either.
        (((None, None),), UNTOLD_CLASS, set(LinkKind) - {LinkKind.C2C}),
        (((0x10DE, None),), UNTOLD_CLASS, {NVLINK}),
        (((0x1002, 0x7FFF),), UNTOLD_CLASS, {XGMI}),
        (((0x8086, 0x1533),), UNTOLD_CLASS, set()),
        # That it fits no class is told: no GPU has it.
        (((0x10DE, None),), 0xFF0000, set()),
    ],
)
def test_hidden_ids_may_be_any_they_can_be(
    possible: tuple[tuple[int | None, int | None], ...], class_code: int, kinds: set[LinkKind]
) -> None:
    hidden = replace(endpoint("01:00.0", ids=(0xFFFF, 0xFFFF), class_code=class_code), possible_ids=possible)
    assert possible_kinds(hidden) == kinds


def test_hidden_ids_may_have_links_to_the_processor() -> None:
    hidden = replace(endpoint("01:00.0", ids=(0xFFFF, 0xFFFF), class_code=0x030200), possible_ids=((0x10DE, None),))
    assert possible_cpu_links(hidden, powernv=False)
    assert not possible_cpu_links(replace(hidden, possible_ids=((0x1002, None),)), powernv=True)


@pytest.mark.parametrize(
    ("ids", "class_code", "expected"),
    [
        ((0x1002, 0x7408), 0x038000, True),  # MI250X, whose processor's link is PCIe on some boards only
        ((0x1002, 0x74A0), 0x120000, True),  # MI300A
        ((0x1002, 0x7700), 0x120000, True),  # newer than the table
        ((0x1002, 0x7700), 0x030000, False),  # a display of which no table tells XGMI
        ((0x1002, 0x740F), 0x038000, False),  # MI210: a PCIe card
        ((0x1002, 0x74A1), 0x120000, False),  # MI300X
        ((0x10DE, 0x74A0), 0x120000, False),
    ],
)
def test_xgmi_may_lead_to_the_processor(ids: tuple[int, int], class_code: int, expected: bool) -> None:
    assert possible_xgmi_to_cpu(endpoint("01:00.0", ids=ids, class_code=class_code)) is expected


def test_hidden_ids_may_have_xgmi_to_the_processor() -> None:
    hidden = replace(endpoint("01:00.0", ids=(0xFFFF, 0xFFFF), class_code=0x038000), possible_ids=((0x1002, None),))
    assert possible_xgmi_to_cpu(hidden)
    assert not possible_xgmi_to_cpu(replace(hidden, possible_ids=((0x1002, 0x738C), (0x1002, 0x740F))))
