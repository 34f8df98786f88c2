"""The lab's comparison of IOVA ranges can fail, and only where the kernel gives less than atoll says."""

from __future__ import annotations

import pytest

from atoll.isolation.iova.ranges import Ranges
from lab.scenarios.ranges import VARIANTS, compare

END = (1 << 39) - 1
MSI = {"start": "0xfee00000", "end": "0xfeefffff", "type": "msi"}
GIVEN = ((0, 0xFEDFFFFF), (0xFEF00000, END))


def cluster(*notes: str, end: int = END) -> dict[str, object]:
    return {
        "aperture": {"start": "0x0", "end": f"0x{end:x}"},
        "reserved": [MSI, {"start": "0x1000", "end": "0x1fff", "type": "direct-relaxable"}],
        "usable": [{"start": "0x0", "end": "0x7fffffff"}, {"start": "0xfef00000", "end": f"0x{end:x}"}],
        "notes": list(notes),
    }


@pytest.mark.parametrize(
    ("given", "end", "notes", "holds"),
    [
        (GIVEN, END, (), [True, True, True]),
        (((0, END),), END, (), [True, True, False]),
        (((0, END),), END, ("first stage",), [True, True]),
        (((0, 0xFEDFFFFF), (0xFEF00000, END >> 1)), END, (), [False, False, False]),
        (GIVEN, END >> 1, ("first stage",), [True, True]),
    ],
)
def test_what_the_kernel_gives_beside_what_atoll_says(
    given: tuple[tuple[int, int], ...], end: int, notes: tuple[str, ...], holds: list[bool]
) -> None:
    assert [check.ok for check in compare("here", cluster(*notes, end=end), Ranges.of(*given))] == holds


def test_each_variant_has_an_iommu_and_turns_it_on() -> None:
    for iommu, cmdline in VARIANTS.values():
        assert "iommu" in iommu[1]
        assert "iommu=on" in cmdline
