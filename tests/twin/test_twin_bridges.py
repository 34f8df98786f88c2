"""Packets across bridges to conventional PCI and back, and inside devices that have bridges among their functions."""

from __future__ import annotations

import pytest

from atoll.pci.acs import REDIRECTING
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Attack, Twin
from twin.bench import at, set_acs
from twin.small import bridge, card, small

CONVENTIONAL, TO_PCI, TO_EXPRESS = PortType.CONVENTIONAL, PortType.PCIE_TO_PCI, PortType.PCI_TO_PCIE
ROOT, OLD = PortType.ROOT_PORT, PortType.CONVENTIONAL


def names(attack: Attack) -> set[str]:
    """The words of hops where requests took another name."""
    return {hop.because for attempt in attack.attempts for hop in attempt.path if hop.because.startswith("takes req")}


def nested() -> Twin:
    """Root port, bridge to PCI (bus 2), a bridge on it (bus 3), and a way back to PCI Express (bus 4)."""
    return small(
        bridge("00:01.0", ROOT, (1, 4), REDIRECTING),
        bridge("01:00.0", TO_PCI, (2, 4)),
        card("02:00.0", OLD),
        bridge("02:01.0", CONVENTIONAL, (3, 3), driver=None),
        card("03:00.0", OLD),
        card("03:01.0", OLD),
        bridge("02:02.0", TO_EXPRESS, (4, 4), driver=None),
        card("04:00.0"),
        bridge("00:02.0", ROOT, (5, 5), REDIRECTING),
        card("05:00.0"),
    )


INNER, MATE, OUTER, BACK, FAR = (at(f"0000:{text}") for text in ("03:00.0", "03:01.0", "02:00.0", "04:00.0", "05:00.0"))


@pytest.mark.parametrize(
    ("source", "victim"), [(INNER, MATE), (INNER, OUTER), (OUTER, INNER), (BACK, OUTER), (INNER, BACK), (BACK, INNER)]
)
def test_everybody_hears_everybody_on_conventional_buses(source: Address, victim: Address) -> None:
    twin = nested()
    set_acs(twin, at("0000:00:01.0"), int(REDIRECTING))
    assert twin.attack(source, victim).reached


def test_bridges_put_their_own_names() -> None:
    twin = nested()
    set_acs(twin, at("0000:00:01.0"), int(REDIRECTING))
    for source in (INNER, BACK):
        attack = twin.attack(source, FAR)
        assert not attack.reached, "the IOMMU has nothing mapped for the bridge's name"
        assert "takes requester id 0200" in names(attack), "the last one's name is what the root complex sees"
    assert "takes requester id 0208" in names(twin.attack(INNER, FAR))
    assert "takes requester id 0210" in names(twin.attack(BACK, FAR))


def test_all_below_a_bridge_is_one_group() -> None:
    twin = nested()
    groups = {twin.kernel.device(address).group for address in (INNER, MATE, OUTER, BACK, at("0000:01:00.0"))}
    assert len(groups) == 1


def test_a_bridge_without_the_capability_may_take_its_secondary_bus_as_name() -> None:
    for takes, name in ((True, "0200"), (False, "0100")):
        twin = small(
            bridge("00:01.0", ROOT, (1, 2)),
            bridge("01:00.0", CONVENTIONAL, (2, 2), driver=None, bus_alias=takes),
            card("02:01.0", OLD),
            bridge("00:02.0", ROOT, (5, 5)),
            card("05:00.0"),
        )
        attack = twin.attack(at("0000:02:01.0"), FAR)
        assert names(attack) == {f"takes requester id {name}"}
        assert not any("no context" in attempt.stopped for attempt in attack.attempts if attempt.kind == "write")


def test_a_switch_with_an_engine_beside_its_upstream_port() -> None:
    twin = small(
        bridge("00:01.0", ROOT, (1, 3), REDIRECTING),
        bridge("01:00.0", PortType.UPSTREAM, (2, 3), multifunction=True),
        card("01:00.1", multifunction=True),
        bridge("02:00.0", PortType.DOWNSTREAM, (3, 3), REDIRECTING),
        card("03:00.0"),
    )
    set_acs(twin, at("0000:00:01.0"), int(REDIRECTING))
    set_acs(twin, at("0000:02:00.0"), int(REDIRECTING))
    engine, below = at("0000:01:00.1"), at("0000:03:00.0")
    up, down = twin.attack(below, engine), twin.attack(engine, below)
    assert up.reached
    assert down.reached
    assert any(hop.via == "inside the device" for hop in (*up.path, *down.path))
    assert down.completions_delivered


def test_two_bridges_in_one_device_reach_each_other_inside() -> None:
    twin = small(
        bridge("00:01.0", ROOT, (1, 3), REDIRECTING),
        bridge("01:00.0", TO_PCI, (2, 2), multifunction=True),
        bridge("01:00.2", TO_PCI, (3, 3), multifunction=True),
        card("02:00.0", OLD),
        card("03:00.0", OLD),
    )
    set_acs(twin, at("0000:00:01.0"), int(REDIRECTING))
    assert twin.attack(at("0000:02:00.0"), at("0000:03:00.0")).reached


def test_conventional_devices_name_nobody() -> None:
    attack = nested().attack(OUTER, FAR)
    kinds = {attempt.kind for attempt in attack.attempts}
    assert "read" in kinds
    assert not any(kind.startswith("spoofed") for kind in kinds)
