"""One of several clusters is released: what has links to those that stay is cut from them still."""

from __future__ import annotations

from dataclasses import replace

from act_bench import BLUE, RED, SPEC, apply, host_of, planned, state
from deaths import apart, deaths, owners_of
from release_bench import applied, give_back

from atoll.act import device
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import recover
from atoll.act.release import release
from atoll.act.shared_links import shared_links
from atoll.host.model import EndKind
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.twin import Twin


def test_links_to_a_guest_that_runs_on_stay_cut_at_both_ends() -> None:
    """Its own end may be open: every start and reset of it opens that."""
    twin = Twin.new("ac922-4gpu")
    initial = state(twin)
    spec = SPEC.replace("held", "vfio")
    red = spec.split("[cluster.blue]")[0]
    host, made = planned(twin, spec)
    execute(twin, host, made)
    twin.event("vm-start", [BLUE])
    cut = twin.peek(RED, "bar0", 0xA00148)
    told = give_back(twin, red).left
    assert f"links 0, 2, 4 of {RED} stay cut: they lead to devices of clusters that are not released with this" in told
    assert device.driver(twin, RED) == "nouveau"
    assert twin.peek(RED, "bar0", 0xA00148) == cut
    assert twin.peek(BLUE, "bar0", 0xA00148) == 0
    assert not twin.attack(BLUE, RED).reached
    twin.event("vm-stop", [BLUE])
    # Given out and back once more, it is as before the first time, with the last cluster.
    apply(twin, spec)
    give_back(twin, red)
    assert twin.peek(RED, "bar0", 0xA00148) == cut
    assert give_back(twin, spec.replace(red, "")).left == ()
    assert state(twin) == initial
    assert read_journal(twin).entries == ()


def test_a_dry_run_tells_what_would_stay() -> None:
    twin = applied()
    red = SPEC.split("[cluster.blue]")[0]
    foretold = give_back(twin, red, dry_run=True)
    told = {deed.device: deed.text for deed in foretold.deeds}
    assert told[RED] == "would: give back: links as before, but for those that stay cut; bind nouveau"
    assert BLUE not in told
    assert foretold.left == give_back(twin, red).left != ()
    foretold = give_back(twin, dry_run=True)
    assert "would: give back: links as before; bind nouveau" in {deed.text for deed in foretold.deeds}
    assert "would: give back: ACS as before" in {deed.text for deed in foretold.deeds}
    assert foretold.left == ()


def test_where_a_release_of_one_of_two_dies_what_they_share_stays_cut() -> None:
    twin = applied()
    red = SPEC.split("[cluster.blue]")[0]

    def act(machine: Machine) -> None:
        host = host_of(machine)
        release(machine, host, read_spec(red, host, name="spec"), spec=red)

    died = deaths(twin, owners_of(twin, SPEC), act, wanted=lambda number: number % 5 == 0)
    initial = state(Twin.new("ac922-4gpu"))
    for death in apart(died, set()):
        recover(death.twin)
        act(death.twin)
        assert not death.twin.attack(BLUE, RED).reached, death.what
        death.twin.reset(BLUE, "bus")
        assert not death.twin.attack(BLUE, RED).reached, death.what
        assert give_back(death.twin).left == ()
        assert state(death.twin) == initial, death.what
        assert read_journal(death.twin).entries == ()


def test_links_of_which_no_source_tells_where_they_lead_stay_cut() -> None:
    twin = applied()
    host, entries = host_of(twin), read_journal(twin).entries
    for links, cut in (
        (host.links, (0, 2, 4)),
        ((), (0, 2, 4)),
        (tuple(link for link in host.links if BLUE not in (link.a.function, link.b.function)), (0, 2, 4)),
        (tuple(replace(link, b=replace(link.b, kind=EndKind.CPU)) for link in host.links), ()),
    ):
        step = shared_links(replace(host, links=links), entries, RED, {BLUE})
        assert (step.links if step is not None else ()) == cut
    assert shared_links(host, entries, RED, {Address.parse("0009:09:00.0")}) is None
