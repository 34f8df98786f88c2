"""What one of a kind elsewhere is asked for all, each alone would have said."""

from __future__ import annotations

from random import Random

import pytest
from broad_hosts import broad_scene, owned, tangled
from reach_hosts import CLOSED, Scene, endpoint, machine, port, scene
from wild_hosts import some_scene

from atoll.fabric.answer import Finding, Policy
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.elsewhere import Elsewhere
from atoll.isolation.proof import Proof, Verdict, prove
from atoll.isolation.reach import Reach
from atoll.pci.address import Address


def both(monkeypatch: pytest.MonkeyPatch, found: Scene, policy: Policy, clusters: Clusters) -> tuple[Proof, Proof]:
    """Return a proof, and what it is where each pair is asked."""
    with monkeypatch.context() as patch:
        patch.setattr(Elsewhere, "kind", lambda *_: None)
        alone = prove(found.reach(policy), clusters)
    return prove(found.reach(policy), clusters), alone


@pytest.mark.parametrize("seed", range(100))
def test_one_of_a_kind_says_what_each_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(seed)
    found = some_scene(rng, wild=rng.random() < 0.8) if seed % 5 == 0 else broad_scene(rng)
    for tried in (found, tangled(found, rng)):
        one, other = both(monkeypatch, tried, rng.choice(tuple(Policy)), owned(tried, rng))
        assert one == other


def _broad(count: int) -> Scene:
    """A host of root ports with a device each."""
    ports = [port(f"{n // 30:04x}:00:{n % 30 + 1:02x}.0", n % 30 + 1, acs=CLOSED) for n in range(count)]
    devices = [endpoint(f"{n // 30:04x}:{n % 30 + 1:02x}:00.0", str(ports[n].address)) for n in range(count)]
    return scene(machine(*ports, *devices))


def test_devices_elsewhere_are_not_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _broad(90)
    clusters = Clusters(tuple(Cluster(f"t{n}", (one,)) for n, one in enumerate(found.topology.endpoints)))
    asked: list[Address] = []
    answer = Reach.answer

    def counting(reach: Reach, source: Address, target: Address) -> Finding:
        asked.append(source)
        return answer(reach, source, target)

    monkeypatch.setattr(Reach, "answer", counting)
    proof = prove(found.reach(), clusters)
    assert (proof.verdict, proof.pairs) == (Verdict.PROVEN, 2 * 90 * 89 + 90)
    assert len(asked) < 10 * 90
