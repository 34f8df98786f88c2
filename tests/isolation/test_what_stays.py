"""What is offered to keep two functions apart says what of it all stays open."""

from __future__ import annotations

from dataclasses import replace

from reach_hosts import CLOSED, OFF, acs, at, links, machine, scene, switch

from atoll.fabric.answer import Answer
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Unknown
from atoll.host.model import Function
from atoll.isolation.explain import Explanation, explain
from atoll.isolation.reach import Reach


def told(*functions: Function) -> Explanation:
    return explain(scene(machine(*functions)).reach(), at("03:00.0"), at("04:00.0"))


def test_acs_of_one_port_says_which_way_goes_through_the_iommu() -> None:
    found = told(*switch(OFF, None))
    assert (found.there.finding.answer, found.back.finding.answer) == (Answer.DIRECT, Answer.DIRECT)
    setting, staying = found.remedies
    assert setting.what.endswith("at 0000:02:00.0")
    assert setting.effect.startswith("what 0000:03:00.0 sends 0000:04:00.0 goes through the IOMMU")
    assert staying.what == "what stays, whatever is set"
    assert "0000:04:00.0 reaches 0000:03:00.0" in staying.effect
    assert "0000:03:00.0 reaches" not in staying.effect


def test_where_all_can_be_closed_nothing_stays() -> None:
    (remedy,) = told(*switch(OFF, OFF)).remedies
    assert remedy.effect.startswith("traffic between them goes through the IOMMU")


def test_what_was_not_read_may_be_set() -> None:
    unread = [replace(f, acs=Unknown("cut")) if f.address == at("02:01.0") else f for f in switch(OFF, CLOSED)]
    *_, staying = told(*unread).remedies
    assert staying.what == "what is left open: not all was read that could be set"
    assert "0000:04:00.0 may reach 0000:03:00.0" in staying.effect


def test_acs_is_offered_beside_translation_where_it_takes_both() -> None:
    host = machine(*switch(OFF, CLOSED))
    for kind in (DomainKind.UNKNOWN, DomainKind.IDENTITY):
        reach = scene(host).reach()
        settings = reach.settings.with_domain(at("03:00.0"), Domain(kind, because="a test"))
        explained = explain(Reach(reach.topology, settings, reach.policy), at("03:00.0"), at("04:00.0"))
        assert [remedy.what.split()[0] for remedy in explained.remedies] == ["set", "let"], kind


_LINKED = links("03:00.0", "04:00.0", (0, 0))


def test_acs_does_not_change_what_links_carry() -> None:
    explained = explain(scene(machine(*switch(OFF, OFF), links=_LINKED)).reach(), at("03:00.0"), at("04:00.0"))
    *uncut, setting = explained.remedies
    assert {remedy.effect for remedy in uncut} == {"they stay open"}
    assert setting.effect.startswith("traffic between them over PCIe goes through the IOMMU")


def test_what_the_root_complex_sends_down_again_stays_beside_links_too() -> None:
    """Nothing validates, and the ids of ports pass untranslated: under those each reaches the other."""
    unvalidated = acs("RR CR UF", "TB RR CR UF DT")
    functions = switch(unvalidated, unvalidated, root=unvalidated)
    reach = scene(machine(*functions, links=_LINKED, kind="identity")).reach()
    *_, staying = explain(reach, at("03:00.0"), at("04:00.0")).remedies
    assert staying.what == "what stays, whatever is set"
    assert staying.effect.startswith("0000:03:00.0 reaches 0000:04:00.0")
