"""What resets have changed and no step did: written back by a release, or told register by register."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import RED, SPEC, Watched, apply, host_of, planned
from deaths import after, deaths
from settings_bench import LOST, SEEDS, VECTOR, unbound, vector_of, wanted

from atoll.act.entries import Entry, EntryState
from atoll.act.executor import execute
from atoll.act.giving_back import GivingBack
from atoll.act.machine import Machine
from atoll.act.outcome import Outcome
from atoll.act.owed import find_owed
from atoll.act.pace import Pace
from atoll.act.recover import recover
from atoll.act.release import release
from atoll.act.settings import changed, differences, put_back, settings_of
from atoll.act.site import State
from atoll.errors import StepError
from atoll.host.fact import Known, value_of
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.plan.fingerprint import fingerprint
from atoll.plan.spec import Spec, read_spec
from atoll.plan.step import Step, StepKind
from atoll.report.apply import release_document
from atoll.twin import Twin

GROUPED, SECOND = 71, "0000:04:01.0"
"""A random machine where a group of several devices is held, and the second of these."""


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


def test_journals_of_older_versions_name_no_settings() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin, SPEC)
    execute(twin, host, made)
    assert release(twin, host_of(twin), read_spec(SPEC, host, name="spec")).differences == ()


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
