"""What resets have changed and no step did: written back by a release, or told register by register."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from act_bench import RED, SPEC, Watched, apply, host_of, planned, to_vfio
from deaths import after, copied, deaths
from lots import roll_clusters
from packets import disturb

from atoll.act.entries import Entry, EntryState
from atoll.act.executor import execute
from atoll.act.giving_back import GivingBack
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.outcome import Outcome
from atoll.act.owed import find_owed
from atoll.act.pace import Pace
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.act.settings import changed, differences, put_back, settings_of
from atoll.act.site import State
from atoll.controls.present import present
from atoll.errors import RefusedError, StepError
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, value_of
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.planner import plan
from atoll.plan.spec import Spec, read_spec
from atoll.plan.step import Plan, Step, StepKind
from atoll.report.apply import release_document
from atoll.twin import Twin

ALL = os.environ.get("ATOLL_FAILURES") == "all"
SEEDS = (71, 87, 153, 163)
"""Fabrics with clusters that can be given their devices, and functions that a reset takes something from."""
VECTOR = 87
"""One where that is an egress control vector, which closing takes: only a reset of its bus resets it."""
GROUPED, SECOND = 71, "0000:04:01.0"
"""One where a group of several devices is held, and the second of these."""
LOST = Address.parse("0000:0f:00.0")
"""Of this function."""


class At(Watched):
    """Fails at its change of a number, before or after it is made."""

    def __init__(self, twin: Twin, at: int, *, late: bool) -> None:
        super().__init__(twin, fail_late=late)
        self.left = at
        self.what = ""

    def change(self, what: str, act: Callable[[], object]) -> None:
        if self.left == 0:
            self.armed, self.what = True, what
        self.left -= 1
        super().change(what, act)


def wanted(seed: int) -> tuple[Twin, Host, Clusters, Plan]:
    """Return a twin, the host as it is before anything, random clusters, and the plan for them."""
    dice = random.Random(f"rel {seed}")
    twin = Twin.new(f"random-{seed}")
    disturb(twin, host_of(twin), dice)
    before = host_of(twin)
    text = "".join(roll_clusters(twin, before, dice))
    clusters = read_spec(text, before, name="spec")
    return twin, before, clusters, plan(Topology(before), present(before), clusters, spec=text)


def given(seed: int) -> tuple[Twin, Host, Clusters]:
    """Return a twin whose random clusters were given their devices, the host as it was before, and the clusters."""
    twin, before, clusters, made = wanted(seed)
    execute(twin, before, made)
    return twin, before, clusters


def untold(before: Host, after: Host, outcome: Outcome) -> list[str]:
    """Return what differs and was not told, but for the command registers that drivers, and the kernel, set."""
    told = {(one.device, one.setting) for one in outcome.differences}
    found = []
    for address, was in before.functions.items():
        now = after.functions[address]
        words = {"acs": "ACS", "multicast": "Multicast", "ats": "ATS"}
        if not was.is_port and value_of(was.driver, None) is None:
            words["command"] = "command"
        for name, word in words.items():
            if value_of(getattr(was, name), 0) != value_of(getattr(now, name), 0):
                found += [f"{address} {name}"] * (not any(a == address and word in told_of for a, told_of in told))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_released_is_as_before_or_told(seed: int) -> None:
    twin, before, clusters = given(seed)
    outcome = release(twin, host_of(twin), clusters)
    assert untold(before, host_of(twin), outcome) == []
    assert outcome.differences == ()


def test_what_a_reset_took_is_written_back_before_the_driver_comes() -> None:
    twin, _, clusters = given(VECTOR)
    machine = Watched(twin)
    outcome = release(machine, host_of(twin), clusters)
    assert [deed.text for deed in outcome.deeds if deed.kind == "put-back"] == [
        "the ACS egress control vector as before"
    ]
    kinds = [deed.kind for deed in outcome.deeds if deed.device == LOST]
    assert kinds.index("put-back") < kinds.index("bind")
    assert outcome.left == ()


def test_nothing_is_opened_beside_another_user_and_all_is_told() -> None:
    twin, before, clusters = given(VECTOR)
    mine = {a for cluster in clusters.named for a in cluster.functions}
    host = host_of(twin)
    user = max(a for a, f in host.functions.items() if not f.is_port and a not in mine and a not in host.essential)
    driven = replace(host.functions[user], driver=Known("vfio-pci", "a test"))
    outcome = release(twin, replace(host, functions={**host.functions, user: driven}), clusters)
    (one,) = outcome.differences
    vector = value_of(before.functions[LOST].acs, None).egress_vector  # type: ignore[union-attr]
    assert (one.device, one.setting, one.was, one.now) == (LOST, "the ACS egress control vector", vector, 0)
    assert one.by_hand.endswith(f"setpci -s {LOST} ECAP_ACS+8.l={vector:08x}")
    assert str(user) in one.why
    assert outcome.left == (str(one),)
    (document,) = release_document("host", outcome)["differences"]
    assert (document["device"], document["was"], document["now"]) == (str(LOST), vector, 0)


def test_nothing_is_opened_beneath_what_keeps_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port stays closed there, since something below it is in use again: that is for another release."""
    twin, before, clusters = given(VECTOR)
    above = before.functions[LOST].parent
    with monkeypatch.context() as context:
        context.setattr(GivingBack, "ports_that_stay", lambda giving, later: {above})
        outcome = release(twin, host_of(twin), clusters)
    (one,) = outcome.differences
    assert (one.device, one.why) == (LOST, "it keeps the group that it has")
    assert vector_of(twin) == 0


def test_of_what_stands_as_before_nothing_is_told() -> None:
    twin = Twin.new("ac922-4gpu")
    assert list(differences(twin, RED, settings_of(twin, RED))) == []
    assert list(differences(twin, RED, None)) == []


class Failing(Watched):
    """What is last cannot be done: handing over."""

    came: Address | None = None
    """A device that somebody gives to vfio-pci by hand then."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path.endswith("/config") and offset == 4 and data[0] & 4:
            if self.came is not None:
                to_vfio(self.twin, self.came)
            raise OSError(5, "Input/output error")
        super().write(path, data, offset=offset)


def vector_of(twin: Twin) -> int | None:
    acs = value_of(host_of(twin).functions[LOST].acs, None)
    return acs.egress_vector if acs is not None else None


def test_a_rollback_writes_back_what_closing_took() -> None:
    twin, host, _, made = wanted(VECTOR)
    vector = vector_of(twin)
    with pytest.raises(StepError, match="Rolled back") as caught:
        execute(Failing(twin), host, made)
    assert vector_of(twin) == vector != 0
    assert "egress control vector" not in caught.value.message
    assert read_journal(twin).runs == ()


@pytest.mark.parametrize("plugged", [False, True])
def test_a_rollback_opens_nothing_beside_who_came_meanwhile_and_tells_it(plugged: bool) -> None:
    """Be the device one that was there before, or was plugged in (or made, where it is virtual) meanwhile."""
    twin, host, clusters, made = wanted(VECTOR)
    mine = {a for cluster in clusters.named for a in cluster.functions}
    machine = Failing(twin)
    machine.came = came = max(
        a
        for a, f in host.functions.items()
        if not f.is_port and a not in mine and a not in host.essential and value_of(f.driver, None)
    )
    if plugged:
        host = replace(host, functions={a: f for a, f in host.functions.items() if a != came})
    words = rf"egress control vector of {LOST} was 0x\w+ and is 0x0 \({came} is another user's since"
    with pytest.raises(StepError, match=words):
        execute(machine, host, made)
    assert vector_of(twin) == 0


def test_a_rollback_writes_back_what_nobody_drives() -> None:
    """However it dies: what says what was before stands in the journal until all of it is written back."""
    twin, _, _, made = wanted(VECTOR)
    unbound(twin, LOST)
    # What firmware left on is switched off before it gets a driver.
    twin.write(f"sys/bus/pci/devices/{LOST}/config", b"\x06", offset=4)
    host, vector = host_of(twin), vector_of(twin)
    spec = read_spec(made.spec, host, name="spec")
    again = plan(Topology(host), present(host), spec, spec=made.spec)
    died = after(deaths(copied(twin), {}, lambda machine: execute(machine, host, again)), "open")
    with pytest.raises(StepError, match="Rolled back"):
        execute(Failing(twin), host, again)
    assert vector_of(twin) == vector != 0
    assert read_journal(twin).runs == ()
    halves = [death for death in deaths(died, {}, recover) if vector_of(death.twin) != vector]
    recover(halves[-1].twin)
    assert vector_of(halves[-1].twin) == vector


def test_a_rollback_opens_nothing_where_something_stays_and_tells_it() -> None:
    twin, host, _, made = wanted(VECTOR)

    class Stuck(Failing):
        """Nor does another device get its driver back."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path.endswith("nvidia/bind"):
                raise OSError(5, "Input/output error")
            super().write(path, data, offset=offset)

    words = rf"egress control vector of {LOST} was 0x\w+ and is 0x0 \(not all that had been done could be undone\)"
    with pytest.raises(StepError, match=words):
        execute(Stuck(twin), host, made)
    assert vector_of(twin) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_recovering_writes_back_too_however_often_it_dies(seed: int) -> None:
    twin, before, _, made = wanted(seed)
    if not made.steps:
        return

    def die(machine: Machine) -> None:
        execute(machine, host_of(machine), made)

    whole = deaths(twin, {}, die, wanted=lambda number: number % 40 == 39)
    for first in whole[-2:]:
        again = copied(first.twin)
        for second in [*deaths(again, {}, recover, wanted=lambda number: number % 30 == 20), first]:
            found = recover(second.twin).runs
            told = " ".join(text for one in found for text in one.left)
            if any(one.fate is Fate.ROLLED_BACK for one in found):
                assert unnamed(before, host_of(second.twin), told) == [], (first.what, second.what)


def unnamed(before: Host, after: Host, told: str) -> list[str]:
    """Return what stands otherwise and is not named by what was told; of functions that drivers have, not what drivers
    and the kernel set."""
    words = {"acs": "ACS", "multicast": "Multicast", "ats": "ATS", "driver": "driver"}
    found = []
    for address, was in before.functions.items():
        now = after.functions.get(address)
        if now is None:
            found += [f"{address} is not there"] * (f"{address} is not there" not in told)
            continue
        for name in (*words, *(("command",) if not was.is_port and not value_of(was.driver, None) else ())):
            if value_of(getattr(was, name), None) != value_of(getattr(now, name), None):
                word = words.get(name, "command")
                found += [f"{address} {name}"] * (not (str(address) in told and word in told))
    return found


def failure_of(machine: Machine, host: Host, made: Plan) -> str | None:
    """Return what an apply that failed half-way told; None where it did not."""
    try:
        execute(machine, host, made)
    except StepError as error:
        return error.message
    return None


@pytest.mark.parametrize("late", [False, True], ids=["not-done", "done-all-the-same"])
@pytest.mark.parametrize("seed", [*SEEDS, 0, 2, 3])
def test_after_any_failure_all_is_as_before_or_named(seed: int, late: bool) -> None:
    """At each of its changes, or a sample of them (ATOLL_FAILURES=all)."""
    twin, before, _, made = wanted(seed)
    counted = Watched(copied(twin))
    with suppress(StepError, RefusedError):
        execute(counted, before, made)
    own = ("var/lib/atoll/", "run/atoll/")
    count = sum(not change.startswith(own) for change in counted.changes)
    numbers = range(count)
    dice = random.Random(seed)
    for number in numbers if ALL else sorted(dice.sample(numbers, min(count, 6))):
        machine = At(copied(twin), number, late=late)
        told = failure_of(machine, before, made)
        if told is None:
            # What can be done without, or another way, keeps nobody.
            assert unnamed(host_of(counted.twin), host_of(machine.twin), "") == [], (number, machine.what)
            continue
        assert unnamed(before, host_of(machine.twin), told) == [], (number, machine.what)
        assert "Not undone" in told or read_journal(machine.twin).runs == ()


def test_journals_of_older_versions_name_no_settings() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin, SPEC)
    execute(twin, host, made)
    assert release(twin, host_of(twin), read_spec(SPEC, host, name="spec")).differences == ()


def unbound(twin: Twin, address: Address) -> None:
    """Take the driver off a function, as its owner did before atoll came."""
    driver = value_of(host_of(twin).functions[address].driver, None)
    twin.write(f"sys/bus/pci/drivers/{driver}/unbind", str(address).encode())


def test_no_bus_mastering_is_missed_where_nobody_drives_a_device() -> None:
    """Off is the wanted end: what firmware left on, a driver switches on once there is one."""
    twin = Twin.new("ac922-4gpu")
    unbound(twin, RED)
    path = f"sys/bus/pci/devices/{RED}/config"
    twin.write(path, b"\x06", offset=4)
    apply(twin)
    host = host_of(twin)
    outcome = release(twin, host, read_spec(SPEC, host, name="spec"))
    assert twin.read(path, offset=4, size=1)[0] & 4 == 0
    assert (outcome.left, outcome.differences) == ((), ())


def test_recovering_a_release_writes_back_what_it_had_not_yet() -> None:
    """The device has no driver, as before, so that nothing else shows that it is not as before."""
    twin, _, _, made = wanted(VECTOR)
    unbound(twin, LOST)
    before = host_of(twin)
    apply(twin, made.spec)

    def give_back(machine: Machine) -> None:
        host = host_of(machine)
        release(machine, host, read_spec(made.spec, host, name="spec"), spec=made.spec)

    died = after(deaths(twin, {}, give_back), f"{LOST}/driver_override")
    vector = value_of(before.functions[LOST].acs, None).egress_vector  # type: ignore[union-attr]
    assert value_of(host_of(died).functions[LOST].acs, None).egress_vector != vector  # type: ignore[union-attr]
    recover(died)
    assert untold(before, host_of(died), Outcome(())) == []


def test_what_a_step_has_set_is_not_how_it_was() -> None:
    """A journal of an earlier version has no settings; a later run on the same device notes what stands then."""
    twin = Twin.new("ac922-4gpu")
    host = host_of(twin)
    words = ("none", "none", "as before")
    steps = [Step(f"s{n}", StepKind.SET_ACS, RED, "for a test", *words, cluster="red") for n in (1, 2)]
    states: list[State] = [{"acs": 0x1D}, {"acs": 0x5D, "settings": ["ECAP_ACS+6.w=005d"]}]
    known = {"fingerprint": fingerprint(host.functions[RED])}
    entries = tuple(Entry(step, EntryState.DONE, {**known, **state}) for step, state in zip(steps, states, strict=True))
    owed = find_owed(twin, host, Spec(read_spec(SPEC, host, name="spec"), frozenset()), entries, Pace())
    assert (owed.was[RED].acs, owed.was[RED].settings) == (0x1D, None)


def test_multicast_is_switched_on_last() -> None:
    """What it may send is stopped before it sends."""
    twin = Twin.new("random-71-multicast")
    words = [settings_of(twin, address) for address in host_of(twin).functions]
    found = [[str(word) for word in each if "MCAST" in str(word)] for each in words if isinstance(each, list)]
    having = [names for names in found if names]
    assert having
    assert all([name for name in names if "+6.w" in name] == names[-1:] for names in having)


def test_what_a_holder_has_closed_is_not_closed_again() -> None:
    """It has the group open still: a release that ended half-way had taken the driver off one of its devices."""
    twin, _, _, made = wanted(GROUPED)
    apply(twin, made.spec)

    class Failing(Watched):
        """The second device of a group cannot be written."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path.endswith("vfio-pci/unbind") and data.decode() == SECOND:
                raise OSError(5, "Input/output error")
            super().write(path, data, offset=offset)

    host = host_of(twin)
    clusters = read_spec(made.spec, host, name="spec")
    with pytest.raises(StepError, match=rf"unbind of {SECOND}"):
        release(Failing(twin), host, clusters, spec=made.spec)
    release(twin, host_of(twin), clusters, spec=made.spec)
    assert not [a for a, f in host_of(twin).functions.items() if "vfio" in (value_of(f.driver, None) or "")]


def test_ats_is_the_kernels_to_set() -> None:
    """It has its own account of it, by which it tells the IOMMU what to expect."""
    twin = Twin.new(f"random-{VECTOR}")
    ats = "ECAP_ATS+6.w="
    noted = ((address, settings_of(twin, address)) for address in host_of(twin).functions)
    address, stands = next((a, w) for a, w in noted if isinstance(w, list) and any(ats in str(word) for word in w))
    was = [ats + f"{int(str(word)[-4:], 16) ^ 0x8000:04x}" for word in stands if ats in str(word)]
    assert changed(twin, address, was, opens=True) == ()
    assert put_back(twin, address, was, opens=True) == ""
    assert settings_of(twin, address) == stands
    (one,) = differences(twin, address, was)
    assert (one.setting, one.was ^ one.now) == ("ATS control", 0x8000)
    assert "setpci" not in one.by_hand
