"""What vendors say of functions without ACS, and where that does not reach."""

from __future__ import annotations

import pytest
from reach_hosts import endpoint, port

from atoll.fabric.statement import stated
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.header import PortType

NONE = AcsFlag(0)


@pytest.mark.parametrize(
    ("ids", "kind", "expected"),
    [
        ((0x8086, 0x10C9), PortType.ENDPOINT, True),
        ((0x8086, 0x10C9), PortType.ROOT_PORT, False),
        ((0x8086, 0x10C9), None, False),
        ((0x8086, 0x9999), PortType.ROOT_INTEGRATED, True),
        ((0x8086, 0x9999), PortType.ENDPOINT, False),
        ((0x177D, 0xA000), PortType.ROOT_PORT, True),
        ((0x177D, 0x0001), PortType.ROOT_PORT, False),
        ((0x1D17, 0x0710), PortType.DOWNSTREAM, True),
        ((0x1D17, 0x0001), PortType.DOWNSTREAM, False),
        ((0x8086, 0x1C10), PortType.ROOT_PORT, False),  # needs chipset registers that no record shows
        ((0x1002, 0x4385), PortType.ENDPOINT, False),  # needs firmware tables
        ((0x8088, 0x1001), PortType.ENDPOINT, True),
        ((0x8088, 0x0001), PortType.ENDPOINT, False),
        ((0x1AF4, 0x1000), PortType.ENDPOINT, False),
    ],
)
def test_statements(ids: tuple[int, int], kind: PortType | None, expected: bool) -> None:
    found = stated(endpoint("01:00.0", ids=ids, port_type=kind))
    assert (REDIRECTING in found) is expected
    assert expected or found == NONE


def test_no_statement_opens_anything() -> None:
    """Egress control and direct translation are never claimed as on where they would let traffic past."""
    for ids in ((0x8086, 0x10C9), (0x177D, 0xA000)):
        for kind in PortType:
            assert AcsFlag.EC not in stated(endpoint("01:00.0", ids=ids, port_type=kind))
    assert stated(port("00:01.0", 1)) == NONE
