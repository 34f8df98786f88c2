"""Statements: now, as handed over, after events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, change, clusters, endpoint, machine, scene, slots

from atoll.controls.acs import closed
from atoll.events.trigger import Trigger
from atoll.fabric.answer import Policy
from atoll.host.fact import Known
from atoll.isolation.clusters import Cluster, Clusters, Handover
from atoll.isolation.moment import state
from atoll.isolation.proof import Verdict
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.ats import Ats
from atoll.pci.header import Command
from atoll.report.prove import prove_document, prove_lines
from atoll.report.style import PLAIN
from atoll.twin import Twin

GPUS = tuple(map(Address.parse, ("0004:04:00.0", "0004:05:00.0")))


def pair(how: Handover) -> Clusters:
    return Clusters((Cluster("red", GPUS[:1], how), Cluster("blue", GPUS[1:], how)))


def test_the_four_gpus_as_they_come() -> None:
    found = scene(Twin.new("ac922-4gpu"))
    tight = {a: closed(found.host.functions[a], word or AcsFlag(0)) for a, word in found.settings.acs.items()}
    settings = replace(found.settings, acs=tight)
    stated = state(found.topology, settings, pair(Handover.HELD), Policy.STRICT, moment="now")
    assert stated.moment == "now"
    assert stated.verdict is Verdict.VIOLATED
    assert stated.handed_over.verdict is Verdict.PROVEN, "a holder would cut"
    assert dict(stated.resilience) == dict.fromkeys(Trigger, ())


@pytest.mark.parametrize("how", [Handover.VFIO, Handover.KERNEL])
def test_hand_overs_that_do_not_keep_a_cut(how: Handover) -> None:
    found = scene(Twin.new("ac922-4gpu"))
    stated = state(found.topology, found.settings, pair(how), Policy.STRICT, moment="now")
    assert stated.handed_over.verdict is Verdict.VIOLATED


def test_what_only_the_hand_over_rests_on_is_told() -> None:
    """A card that is off sends nothing: that it is honest, and has siblings, counts once its owner has it."""
    off = Known(Command(0))
    cards = [replace(f, command=off, ats=Known(Ats(True, 0x1B0))) for f in slots(CLOSED, CLOSED) if not f.is_port]
    ports = [f for f in slots(CLOSED, CLOSED) if f.is_port]
    beside = endpoint("01:00.1", "00:01.0", multifunction=True, command=Command(0))
    found = scene(machine(*ports, *change(cards, "01:00.0", multifunction=Known(True)), beside))
    stated = found.state(clusters(found.host, red="01:00.0", blue="02:00.0"), Policy.TRUSTED)
    assert (stated.verdict, stated.handed_over.verdict) == (Verdict.PROVEN, Verdict.PROVEN)
    now, added = ({a.id for a in some} for some in (stated.proof.assumptions, stated.once_handed_over))
    assert added == {"honest-ats", "sibling-identity"}
    assert not now & added
    lines = "\n".join(prove_lines(found.host, clusters(found.host, red="01:00.0"), stated, style=PLAIN))
    assert lines.count("once handed over: ") == 2
    document = prove_document(found.host, clusters(found.host, red="01:00.0"), stated)
    assert added < {assumption["id"] for assumption in document["handed_over"]["assumptions"]}


def test_the_verdict_is_the_proofs_unless_more_is_asked_for() -> None:
    found = scene(Twin.new("pcie-box"))
    named = clusters(found.host, red="0000:03:00.0", blue="0000:0f:00.0")
    stated = found.state(named)
    assert stated.verdict is stated.proof.verdict
    wanted = found.state(replace(named, survive={Trigger.HOST: 9}))
    assert (wanted.verdict is Verdict.VIOLATED) is (wanted.resilience[Trigger.HOST] is not None)
