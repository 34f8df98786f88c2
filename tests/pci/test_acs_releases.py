"""Which releases decide as the table says, and whose quirks for Intel's chipsets work."""

from __future__ import annotations

import pytest

from atoll.pci.quirks.acs import AcsHandler
from atoll.pci.quirks.acs_releases import kernel_decides_alike, makes_chipsets_validate, stops_chipset_peers


@pytest.mark.parametrize(
    ("release", "known"),
    [
        ("6.1.175", False),
        ("6.1.176-custom", True),
        ("6.12.117+deb13-amd64", True),
        ("6.1.0-56-amd64", False),
        ("6", False),
    ],
)
def test_long_term_releases_that_were_compared_have_the_later_rows(release: str, known: bool) -> None:
    assert kernel_decides_alike(release, AcsHandler.LOONGSON, 0x0014, 0x7A29) is known


@pytest.mark.parametrize(
    ("release", "validates", "stops"),
    [
        ("5.4.5-generic", False, False),
        ("5.4.6", False, True),
        ("5.5.0", False, True),
        ("6.12.116", False, True),
        ("6.12.117-1-lts", True, True),
        ("7.2.9", False, True),
        ("7.3.0-rc1", True, True),
        ("unknown", False, False),
    ],
)
def test_chipsets_are_set_up_from_a_release_on(release: str, validates: bool, stops: bool) -> None:
    assert makes_chipsets_validate(release) is validates
    assert stops_chipset_peers(release) is stops
