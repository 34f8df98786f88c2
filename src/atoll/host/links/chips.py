"""What a chip has by its ids, where the completeness of a record depends on it.

The numbers of links are upper bounds by die: a board can wire fewer. A record that shows fewer links than the
chip may have does not show all of them.
"""

from __future__ import annotations

from atoll.pci.vendor import ATI, NVIDIA

__all__ = ["has_c2c", "may_have_switches", "may_have_xgmi_to_cpu", "nvlinks_at_most", "nvlinks_wired"]

_C2C_IDS = frozenset((0x2941, 0x297E, 0x29BC, 0x31C2))
"""Blackwell's C2C parts by gpu-admin-tools."""
_C2C_RANGES = (
    (0x2340, 0x237F),  # GH200: gpu-admin-tools' C2C parts; Linux vfio/pci/nvgrace-gpu/main.c has a part of them
    (0x2E00, 0x2E3F),  # GB10: NVIDIA/NV-Kernels pull request 396, "device ID range for DGX Spark iGPU"
    (0x3000, 0x317F),  # Rubin: VR200 (0x307f) has C2C, as NCCL's documentation of MLOPart shows
    (0x3280, 0xFFFE),  # not known here: newer
)
_XGMI_TO_CPU_IDS = frozenset(
    (
        *(0x7408, 0x740C, 0x7410),  # MI250, MI250X and their virtual functions: by board (``connected_to_cpu``)
        0x74A0,  # MI300A, of one package with its processor (``AMDGPU_PKG_TYPE_APU``)
    )
)
_NEWEST_XGMI_ID = 0x75BF
"""Of MI350; what is newer may have what MI300A has."""
_BOARDS = {
    0x20B7: 4,  # A30: NVIDIA A30 datasheet, 200 GB/s over one bridge
    # H100 NVL, H100 PCIe: their product briefs, 600 GB/s over three bridges; the other six links of the die are always
    # inactive (Azure/azurehpc-health-checks issue 162).
    **dict.fromkeys((0x2321, 0x2331), 12),
    # A100 PCIe of 40 and 80 GB: their product briefs, three bridges to one other board
    **dict.fromkeys((0x20B5, 0x20F1), 12),
    # A800 PCIe, A800 Active, H800 PCIe: their datasheets, 400 GB/s
    **dict.fromkeys((0x20F5, 0x20F6, 0x2322), 8),
    0x1DBA: 4,  # Quadro GV100: its datasheet, 200 GB/s over two bridges
    0x233B: 18,  # H200 NVL: NVIDIA H200 datasheet, 900 GB/s over bridges of two or four boards
}
"""Boards whose links lead out to bridges only."""
_BY_DIE = (
    (0x15F0, 0x15FF, 4),  # GP100: NVIDIA Tesla P100 whitepaper
    (0x1D80, 0x1DFF, 6),  # GV100: NVIDIA Tesla V100 whitepaper
    (0x1E00, 0x1E7F, 2),  # TU102: NVIDIA Turing whitepaper
    (0x1E80, 0x1EFF, 1),  # TU104: the same
    (0x2080, 0x20FF, 12),  # GA100: NVIDIA A100 whitepaper
    (0x2200, 0x223F, 4),  # GA102: NVIDIA GA102 whitepaper
    (0x2300, 0x237F, 18),  # GH100: NVIDIA H100 whitepaper
    (0x2680, 0x28FF, 0),  # AD102 to AD107: none, NVIDIA Ada whitepaper
    (0x2900, 0x29FF, 18),  # GB100, GB102: NVIDIA Blackwell brief
    (0x2B80, 0x2DFF, 0),  # GB202, GB203, GB206, GB207: none, NVIDIA RTX Blackwell whitepaper
    (0x3180, 0x31FF, 18),  # GB110: the same links as GB100
)

_NEVER_SWITCHED = (
    (0x15F0, 0x15FF),  # GP100: before NVSwitch
    (0x1E00, 0x1EFF),  # TU102, TU104: bridges of two boards, NVIDIA Turing whitepaper
    (0x2200, 0x223F),  # GA102: the same, NVIDIA GA102 whitepaper
)
"""Dies whose NVLinks lead to other GPUs and CPUs only."""


def nvlinks_at_most(vendor: int, device: int) -> int | None:
    """Return how many NVLinks a GPU has at most, None for what the table does not know."""
    if vendor != NVIDIA:
        return None
    wired = nvlinks_wired(vendor, device)
    if wired is not None:
        return wired
    return next((most for first, last, most in _BY_DIE if first <= device <= last), None)


def nvlinks_wired(vendor: int, device: int) -> int | None:
    """Return how many NVLinks a board leads out to bridges, None for what is not known to be such a board."""
    return _BOARDS.get(device) if vendor == NVIDIA else None


def may_have_switches(vendor: int, device: int) -> bool:
    """Whether the links of a GPU may lead to switches, by its die or its board; they may where ids are hidden."""
    bridged = device in _BOARDS or any(first <= device <= last for first, last in _NEVER_SWITCHED)
    return not (vendor == NVIDIA and bridged)


def has_c2c(vendor: int, device: int) -> bool:
    """Whether a GPU has, or may have, a C2C link to its CPU."""
    if vendor != NVIDIA:
        return False
    return device in _C2C_IDS or any(low <= device <= high for low, high in _C2C_RANGES)


def may_have_xgmi_to_cpu(vendor: int, device: int) -> bool:
    """Whether a part with XGMI may have such links to its processor as well.

    Source: Linux drivers/gpu/drm/amd, ``gmc_v9_0_early_init`` (of MI200 a register tells, ``MCM_CONFIG.TOPOLOGY_ID``:
    PCIe or XGMI) and ``kfd_fill_gpu_direct_io_link_to_cpu``.
    """
    return vendor == ATI and (device in _XGMI_TO_CPU_IDS or device > _NEWEST_XGMI_ID)
