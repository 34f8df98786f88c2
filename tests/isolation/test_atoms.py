"""Atoms: what could be told apart, and that every other setting is coarser."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contact_hosts import hosts
from hypothesis import given, settings
from hypothesis import strategies as st
from reach_hosts import ALL, CLOSED, OFF, Scene, acs, at, endpoint, gpu, links, machine, port, scene, slots, switch

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import Domain, DomainKind, Settings
from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind
from atoll.isolation.atoms import atoms, most_closed
from atoll.isolation.contacts.host import partition
from atoll.isolation.contacts.partition import Partition
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.ats import Ats
from atoll.pci.header import Command
from atoll.twin import MACHINES, Twin


def parts(found: Scene, policy: Policy = Policy.STRICT) -> list[str]:
    made = atoms(found.topology, found.settings, policy)
    return [" ".join(str(a)[5:] for a in atom.functions) for atom in made]


def test_what_acs_can_tell_apart() -> None:
    found = scene(machine(*switch(OFF, OFF, None)))
    assert parts(found) == ["03:00.0 04:00.0 05:00.0"], "the third port has no ACS: it reaches both"
    two = scene(machine(*switch(OFF, OFF), kind="identity"))
    assert parts(two) == ["03:00.0", "04:00.0"]
    first, second = atoms(two.topology, two.settings, Policy.STRICT)
    assert first.acs == {at("02:00.0"): CLOSED.control}
    assert second.acs == {at("02:01.0"): CLOSED.control}
    assert first.because == ()


def test_what_the_iommu_would_have_to_do() -> None:
    cards = slots(CLOSED, CLOSED)
    cards[1] = replace(cards[1], ats=Known(Ats(True, 0x1B0)))
    found = scene(machine(*cards, kind="identity"))
    first, second = atoms(found.topology, found.settings, Policy.TRUSTED)
    assert first.domains == {at("01:00.0"): DomainKind.IDENTITY}
    assert second.domains == {at("02:00.0"): DomainKind.IDENTITY}
    assert (first.ats, second.ats) == ({at("01:00.0"): True}, {})
    blocked = [replace(cards[0], acs=Known(acs("SV TB RR CR UF"))), *cards[1:]]
    found = scene(machine(*blocked, kind="DMA"))
    first, second = atoms(found.topology, found.settings, Policy.TRUSTED)
    assert (first.domains, second.domains, first.ats) == ({}, {}, {})


def test_ids_of_ports_that_can_be_sent_would_have_to_be_translated_too() -> None:
    """No switch without Source Validation makes one atom of a whole host that passes addresses through by default."""
    functions = [*switch(acs("RR CR UF", "RR CR UF"), CLOSED), port("00:02.0", 0x10), endpoint("10:00.0", "00:02.0")]
    found = scene(machine(*functions, kind="identity"))
    assert parts(found) == ["03:00.0 04:00.0", "10:00.0"]
    first, second = atoms(found.topology, found.settings, Policy.STRICT)
    assert [str(a)[5:] for a in first.domains] == ["03:00.0", "04:00.0", "01:00.0", "02:00.0", "02:01.0"]
    assert [str(a)[5:] for a in second.domains] == ["10:00.0"]
    translated = scene(machine(*functions, kind="DMA"))
    assert [atom.domains for atom in atoms(translated.topology, translated.settings, Policy.STRICT)] == [{}, {}]


def test_why_an_atom_is_one() -> None:
    found = scene(machine(*switch(None, OFF)))
    (atom,) = atoms(found.topology, found.settings, Policy.STRICT)
    assert atom.because[0].at == "0000:02:00.0"
    assert not atom.open, "the hardware lets it through"


def test_what_only_missing_facts_join_is_open_and_says_so() -> None:
    host = machine(*switch(OFF, OFF))
    functions = {
        address: replace(f, group=Unknown("no list"), iommu=Unknown("no list")) for address, f in host.functions.items()
    }
    found = scene(replace(host, functions=functions, groups=Unknown("the text shows no IOMMU groups")))
    (atom,) = atoms(found.topology, found.settings, Policy.TRUSTED)
    assert len(atom.functions) == 2
    assert atom.open
    assert "no IOMMU groups" in atom.because[-1].because, "no two touch: it is the IOMMU that is not told"
    unread = [replace(f, acs=Unknown("cut")) if f.is_port else f for f in switch(OFF, OFF)]
    found = scene(machine(*unread))
    (atom,) = atoms(found.topology, found.settings, Policy.STRICT)
    assert atom.open
    assert atom.because


def test_what_masks_can_tell_apart() -> None:
    """Two V100s can be cut; a GPU without a known control cannot, but the other end does for it."""
    wires = links("01:00.0", "02:00.0", (0, 3))
    ports = slots(CLOSED, CLOSED)[::2]
    mine, other = gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")
    two = scene(machine(*ports, mine, other, links=wires))
    assert parts(two) == ["01:00.0", "02:00.0"]
    assert [atom.cuts for atom in atoms(two.topology, two.settings, Policy.STRICT)] == [
        {at("01:00.0"): {0}},
        {at("02:00.0"): {3}},
    ]
    mute = [replace(one, device=0x20B0) for one in (mine, other)]
    assert parts(scene(machine(*ports, mine, mute[1], links=wires))) == ["01:00.0", "02:00.0"]
    both = scene(machine(*ports, *mute, links=wires))
    assert parts(both) == ["01:00.0 02:00.0"]


def test_a_control_that_is_only_assumed_tells_nothing_apart() -> None:
    pascal = [endpoint(f"0{n}:00.0", ids=(0x10DE, 0x15F9)) for n in (1, 2)]
    found = scene(machine(*pascal, links=links("01:00.0", "02:00.0", (0, 0))))
    assert parts(found) == ["01:00.0 02:00.0"]
    assert most_closed(found.topology, found.settings).cut == found.settings.cut


def test_untold_links_are_no_reason_to_split() -> None:
    assert parts(scene(machine(gpu("01:00.0"), gpu("02:00.0")))) == ["01:00.0 02:00.0"]


def test_links_to_the_processor_are_never_cut() -> None:
    wires = (*links("01:00.0", "02:00.0", (0, 0)), *links("01:00.0", EndKind.CPU, (1, 0)))
    found = scene(machine(gpu("01:00.0"), gpu("02:00.0"), links=wires))
    assert most_closed(found.topology, found.settings).cut[at("01:00.0")] == frozenset({0})


def test_without_an_iommu_nothing_translates() -> None:
    bare = [replace(f, group=f.group) for f in slots(CLOSED, CLOSED)]
    alone = [endpoint(str(f.address), str(f.parent), group=None, iommu=None) if not f.is_port else f for f in bare]
    assert parts(scene(machine(*alone))) == ["01:00.0 02:00.0"]


def test_what_is_switched_off_now_is_not_apart_for_good() -> None:
    bare = [replace(f, command=Known(Command(0)), group=Known(None), iommu=Known(None)) for f in slots(CLOSED, CLOSED)]
    found = scene(machine(*bare))
    (atom,) = atoms(found.topology, found.settings, Policy.STRICT)
    assert atom.functions == (at("01:00.0"), at("02:00.0"))


def test_the_most_closed_setting() -> None:
    word = acs("EC DT TB", ALL)
    functions = [port("00:01.0", 1, acs=word), endpoint("01:00.0", "00:01.0", ats=True, command=Command(0))]
    found = scene(machine(*functions, kind="identity"))
    tight = most_closed(found.topology, found.settings)
    assert tight.acs == {at("00:01.0"): CLOSED.control | AcsFlag.TB}
    assert tight.ats == {at("01:00.0"): False}
    assert tight.command[at("01:00.0")] == Command.MASTER | Command.MEMORY, "switched off is not isolated but useless"
    assert tight.domain[at("01:00.0")].kind is DomainKind.TRANSLATED


@st.composite
def settled(draw: st.DrawFn, found: Scene) -> Settings:
    """Any setting of a host's controls that leaves its devices useful."""
    now = found.settings
    flags = st.integers(0, 0x7F).map(AcsFlag)
    acs_words = {a: None if word is None else draw(flags) & capability(found, a) for a, word in sorted(now.acs.items())}
    cut = {a: draw(st.sets(st.integers(0, 5)).map(frozenset)) for a in sorted(now.cut)}
    kinds = st.sampled_from([Domain(kind, f"{kind}") for kind in DomainKind])
    domain = {a: draw(kinds) for a in sorted(found.host.functions)}
    cpu = {a: draw(kinds) if d.kind is not DomainKind.BLOCKED else d for a, d in sorted(now.cpu_links.items())}
    command = dict.fromkeys(now.command, Command.MASTER | Command.MEMORY)
    ats = {a: draw(st.sampled_from((True, False, None))) for a in now.ats}
    return replace(now, acs=acs_words, cut=cut, domain=domain, cpu_links=cpu, command=command, ats=ats)


def capability(found: Scene, address: object) -> AcsFlag:
    fact = found.host.functions[address].acs  # type: ignore[index]
    return fact.value.capability  # type: ignore[union-attr]


def of(found: Scene, settings_: Settings, policy: Policy) -> Partition:
    return partition(Reach(found.topology, settings_, policy), least=Answer.POSSIBLE)


def finest(found: Scene, policy: Policy) -> Partition:
    return Partition(tuple(atom.functions for atom in atoms(found.topology, found.settings, policy)))


TWINS = {name: scene(Twin.new(name)) for name in MACHINES}


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(sorted(TWINS)), st.sampled_from(Policy))
def test_atoms_refine_what_any_setting_joins_on_twins(data: st.DataObject, name: str, policy: Policy) -> None:
    found = TWINS[name]
    assert finest(found, policy).refines(of(found, data.draw(settled(found)), policy))


@settings(max_examples=80, deadline=None)
@given(st.data(), hosts(), st.sampled_from(Policy))
def test_atoms_refine_what_any_setting_joins(data: st.DataObject, found: Scene, policy: Policy) -> None:
    loose = data.draw(settled(found))
    assert finest(found, policy).refines(of(found, loose, policy))
    tight = most_closed(found.topology, found.settings)
    assert of(found, tight, policy) == finest(found, policy)


@pytest.mark.parametrize("name", MACHINES)
def test_atoms_do_not_depend_on_the_present_setting(name: str) -> None:
    found = TWINS[name]
    opened = replace(
        found.settings,
        acs={a: AcsFlag(0) for a in found.settings.acs},
        cut={a: frozenset() for a in found.settings.cut},
        ats=dict.fromkeys(found.settings.ats, True),
    )
    made = [atoms(found.topology, setting, Policy.STRICT) for setting in (found.settings, opened)]
    assert [atom.functions for atom in made[0]] == [atom.functions for atom in made[1]]


def test_nothing_translates_for_groups_that_vfio_made_up() -> None:
    """No-IOMMU mode: such a function reaches all memory in every setting."""
    host = machine(*slots(CLOSED, CLOSED))
    assert isinstance(host.groups, Known)
    card = host.functions[at("01:00.0")].group
    unsafe = {n: replace(g, name="vfio-noiommu" if Known(n) == card else None) for n, g in host.groups.value.items()}
    assert parts(scene(replace(host, groups=Known(unsafe)))) == ["01:00.0 02:00.0"]
    assert parts(scene(host)) == ["01:00.0", "02:00.0"]
