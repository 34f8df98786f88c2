"""Dumped bytes of virtual functions, whose ids read as ones."""

from __future__ import annotations

import pytest

from host.records.paste import at, host_of

_BYTES = ["ff ff ff ff 04 00 10 00 01 00 00 02 00 00 00 00", *["00 " * 15 + "00"] * 3]


@pytest.mark.parametrize(
    ("heading", "told", "possible"),
    [
        ("Ethernet controller [0200]: Intel Corporation 82599 Virtual Function [8086:10ed] (rev 01)", True, True),
        ("0200: 8086:10ed (rev 01)", True, True),
        ("Ethernet controller: Intel Corporation 82599 Ethernet Controller Virtual Function (rev 01)", True, True),
        ("Ethernet controller: Intel Corporation No Such Virtual Function (rev 01)", False, True),
        ("Ethernet controller: Nobody Knows (rev 01)", False, False),
    ],
)
def test_their_ids_are_those_that_the_kernel_tells(heading: str, told: bool, possible: bool) -> None:
    """Virtual functions have FFFFh for vendor and device (Base Specification 9.3.4.1.1, 9.3.4.1.2)."""
    lines = [f"0000:02:10.0 {heading}", *(f"{16 * row:02x}: {line}" for row, line in enumerate(_BYTES))]
    function = host_of("\n".join(lines) + "\n").functions[at("02:10.0")]
    assert function.ids_told is told
    assert function.made_by(0x8086) is possible
    assert not told or (function.vendor, function.device) == (0x8086, 0x10ED)
