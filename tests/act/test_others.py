"""Tenants in files of their own: what the journal notes for others, and what is bound to VFIO by hand, is not the
trusted host's."""

from __future__ import annotations

import pytest
from act_bench import BLUE, RED, Watched, apply, host_of, lose_journal, to_vfio

from atoll.act.executor import execute
from atoll.act.others import with_others
from atoll.act.release import release
from atoll.act.steps.ports import set_control
from atoll.controls.present import present
from atoll.errors import InputError
from atoll.events.trigger import Trigger
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.isolation.clusters import Clusters, Handover
from atoll.isolation.moment import Statement, state
from atoll.isolation.proof import Breach, Verdict
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.twin import Twin

BOX_RED, OPEN, FAR = (Address.parse(text) for text in ("0000:03:00.0", "0000:05:00.0", "0000:0f:00.0"))
"""Two devices below one switch, at a port with ACS and one without; and one below a root port of its own."""


def file(name: str, address: Address, handover: str) -> str:
    driver = 'driver = "xdma"\n' if handover == "kernel" else ""
    return f'[cluster.{name}]\ndevices = ["{address}"]\nhandover = "{handover}"\n{driver}'


def clusters(twin: Twin, text: str) -> Clusters:
    host = host_of(twin)
    return with_others(twin, host, read_spec(text, host, name="spec"))


def planned(twin: Twin, text: str) -> Plan:
    host = host_of(twin)
    return plan(Topology(host), present(host), clusters(twin, text), spec=text)


def carried_out(twin: Twin, text: str) -> None:
    made = planned(twin, text)
    assert not made.impossible
    execute(twin, host_of(twin), made)


def stated(twin: Twin, text: str) -> Statement:
    host = host_of(twin)
    return state(Topology(host), present(host), clusters(twin, text), Policy.STRICT, moment="now")


def whose(twin: Twin, text: str) -> dict[str, tuple[Handover, tuple[Address, ...]]]:
    return {cluster.name: (cluster.handover, cluster.functions) for cluster in clusters(twin, text).others}


def test_what_is_bound_to_vfio_by_hand_may_break_in() -> None:
    """Its port cannot redirect, so it reaches what is below the same switch; nothing there reaches it."""
    twin = Twin.new("pcie-box")
    red = file("red", BOX_RED, "vfio")
    assert stated(twin, red).verdict is Verdict.PROVEN
    to_vfio(twin, OPEN)
    twin.event("vm-start", [OPEN])
    assert twin.attack(OPEN, BOX_RED).reached
    assert not twin.attack(BOX_RED, OPEN).reached
    found = stated(twin, red)
    assert found.verdict is Verdict.VIOLATED
    assert {(v.source, v.target) for v in found.proof.violations if v.breach is Breach.ACCESS} == {(OPEN, str(BOX_RED))}
    (impossible,) = (one for one in planned(twin, red).impossible if OPEN in one.devices)
    assert "red" in impossible.clusters


@pytest.mark.parametrize("first", ["red", "blue"])
def test_two_files_through_stock_vfio_are_open_once_both_guests_run(first: str) -> None:
    twin = Twin.new("ac922-4gpu")
    files = {"red": file("red", RED, "vfio"), "blue": file("blue", BLUE, "vfio")}
    for name in sorted(files, key=lambda name: name != first):
        carried_out(twin, files[name])
    for text in files.values():
        found = stated(twin, text)
        assert found.verdict is Verdict.PROVEN
        assert found.handed_over.verdict is Verdict.VIOLATED
        weakness = found.resilience[Trigger.TENANT]
        assert weakness is not None
        assert len(weakness) == 2
    twin.event("vm-start", [RED])
    assert not twin.attack(RED, BLUE).reached
    twin.event("vm-start", [BLUE])
    assert twin.attack(RED, BLUE).reached


@pytest.mark.parametrize(("one", "other"), [("held", "vfio"), ("vfio", "held"), ("held", "held")])
def test_a_holder_of_one_file_keeps_apart_from_the_other(one: str, other: str) -> None:
    twin = Twin.new("ac922-4gpu")
    red, blue = file("red", RED, one), file("blue", BLUE, other)
    carried_out(twin, red)
    carried_out(twin, blue)
    assert whose(twin, red) == {"blue": (Handover(other), (BLUE,))}
    assert whose(twin, blue) == {"red": (Handover(one), (RED,))}
    for text in (red, blue):
        found = stated(twin, text)
        assert found.verdict is found.handed_over.verdict is Verdict.PROVEN
    for address in (address for address, how in ((RED, one), (BLUE, other)) if how == "vfio"):
        twin.event("vm-start", [address])
    assert not twin.attack(RED, BLUE).reached
    assert not twin.attack(BLUE, RED).reached


def test_what_a_host_driver_has_for_another_file_is_told_by_the_journal_alone() -> None:
    twin = Twin.new("pcie-box")
    red, blue = file("red", FAR, "vfio"), file("blue", BOX_RED, "kernel")
    carried_out(twin, red)
    carried_out(twin, blue)
    assert whose(twin, red) == {"blue": (Handover.KERNEL, (BOX_RED,))}
    assert whose(twin, blue) == {"red": (Handover.VFIO, (FAR,))}
    assert stated(twin, red).verdict is Verdict.PROVEN
    for port in ("0000:00:01.0", "0000:02:00.0"):
        set_control(twin, Address.parse(port), AcsFlag(0))
    assert twin.attack(BOX_RED, FAR).reached
    assert stated(twin, red).verdict is Verdict.VIOLATED
    carried_out(twin, red)
    assert not twin.attack(BOX_RED, FAR).reached
    assert stated(twin, red).verdict is Verdict.PROVEN
    host = host_of(twin)
    release(twin, host, read_spec(blue, host, name="spec"), spec=blue)
    assert whose(twin, red) == {}, "what was given back is the host's"


def test_what_was_given_to_a_cluster_of_the_same_name_is_not_this_files() -> None:
    twin = Twin.new("ac922-4gpu")
    carried_out(twin, file("red", RED, "held"))
    assert whose(twin, file("red", BLUE, "held")) == {"red (not in this file)": (Handover.HELD, (RED,))}


def test_a_journal_that_cannot_be_read_proves_nothing() -> None:
    twin = Twin.new("pcie-box")
    red = file("red", BOX_RED, "vfio")
    twin.write("var/lib/atoll/journal.sqlite", b"no journal at all")
    host = host_of(twin)
    with pytest.raises(InputError, match="damaged"):
        execute(twin, host, planned(twin, red))
    found = stated(twin, red)
    assert found.verdict is Verdict.UNKNOWN
    (reason,) = found.proof.reasons
    assert "who else was given devices cannot be told" in reason


class Elsewhere(Watched):
    """Seen from a mount namespace with a journal of its own; ``host`` is what shows the host's, if anything does."""

    def __init__(self, twin: Twin, host: Twin | None) -> None:
        super().__init__(twin)
        self.host = host

    def of_host(self) -> Twin | None:
        return self.host


def test_a_journal_that_is_not_the_hosts_tells_of_nobody_silently() -> None:
    """The host's is read where it is shown; where it is not, a proof says that it takes the one there for it."""
    twin = Twin.new("pcie-box")
    carried_out(twin, file("blue", BOX_RED, "kernel"))
    bare = Twin.new("pcie-box")
    host = host_of(twin)
    red = read_spec(file("red", FAR, "vfio"), host, name="spec")
    shown = with_others(Elsewhere(bare, twin), host, red)
    assert [(cluster.name, cluster.functions) for cluster in shown.others] == [("blue", (BOX_RED,))]
    assert shown.unshown == ""
    hidden = with_others(Elsewhere(bare, None), host, red)
    assert hidden.others == ()
    proof = state(Topology(host), present(host), hidden, Policy.STRICT, moment="now").proof
    assert "journal-of-host" in {assumption.id for assumption in proof.assumptions}
    proof = state(Topology(host), present(host), shown, Policy.STRICT, moment="now").proof
    assert "journal-of-host" not in {assumption.id for assumption in proof.assumptions}


def test_what_a_keeper_has_open_and_no_journal_tells_of_leaves_open_who_else_has_something() -> None:
    """The journal was moved away, or is another's: what it told of other clusters is not known any more."""
    twin = Twin.new("ac922-4gpu")
    text = "\n".join(file(name, address, "held") for name, address in (("red", RED), ("blue", BLUE)))
    apply(twin, text)
    assert stated(twin, text).verdict is Verdict.PROVEN
    lose_journal(twin)
    proof = stated(twin, text).proof
    assert proof.verdict is Verdict.UNKNOWN
    assert f"(atoll-hold:red) has {RED} open, and the journal" in " ".join(proof.reasons)
