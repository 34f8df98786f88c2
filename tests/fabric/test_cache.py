"""What a device reaches by caching it (CXL.cache)."""

from __future__ import annotations

import pytest
from reach_hosts import CLOSED, at, change, clusters, machine, scene, slots

from atoll.fabric.answer import Answer, Policy, Question
from atoll.fabric.cache import by_caching
from atoll.host.fact import Fact, Known, Unknown
from atoll.isolation.proof import Breach, Verdict
from atoll.pci.header import Command, PortType

CARD = at("01:00.0")
QUIET = Command.MEMORY


@pytest.mark.parametrize(
    ("caches", "expected"),
    [(Known(False), Answer.BLOCKED), (Known(True), Answer.POSSIBLE), (Unknown("cut"), Answer.POSSIBLE)],
)
def test_memory_that_is_cached_is_not_translated(caches: Fact[bool], expected: Answer) -> None:
    """Nor does it take a bus master: requests of PCI Express are another matter."""
    found = scene(machine(*change(slots(CLOSED, CLOSED), "01:00.0", cxl_cache=caches)))
    finding = by_caching(found.topology, Policy.STRICT, CARD)
    assert finding.answer is expected
    trusted = by_caching(found.topology, Policy.TRUSTED, CARD)
    assert trusted.answer is min(expected, Answer.IOMMU)
    assert trusted.assumptions == ({Question.HONEST_ATS.value} if expected else set())
    quiet = scene(machine(*change(slots(CLOSED, CLOSED), "01:00.0", cxl_cache=caches, command=Known(QUIET))))
    assert quiet.reach().memory(CARD).answer is expected


def test_what_is_no_pcie_device_caches_nothing() -> None:
    functions = change(slots(CLOSED), "01:00.0", cxl_cache=Unknown("cut"), port_type=Known(PortType.CONVENTIONAL))
    found = scene(machine(*functions))
    assert by_caching(found.topology, Policy.STRICT, CARD).answer is Answer.BLOCKED


def test_a_tenant_whose_device_caches_the_hosts_memory_is_not_proven_apart() -> None:
    found = scene(machine(*change(slots(CLOSED, CLOSED), "01:00.0", cxl_cache=Known(True))))
    for tenant, verdict in (("01:00.0", Verdict.UNKNOWN), ("02:00.0", Verdict.PROVEN)):
        stated = found.state(clusters(found.host, red=tenant))
        assert stated.proof.verdict is stated.handed_over.verdict is verdict
        assert {violation.breach for violation in stated.proof.unknown} <= {Breach.MEMORY}
    # What it caches is memory: its requests to a peer go through the IOMMU as ever.
    assert found.reach().answer(CARD, at("02:00.0")).answer is Answer.IOMMU
