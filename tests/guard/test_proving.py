"""What a holder proves for those who ask, and when what it read was so."""

from __future__ import annotations

import select
from pathlib import Path
from typing import Any

import pytest
from act_bench import SPEC, Filed, planned
from holding_bench import asked, holding, proved

from atoll.guard.holding import Holding
from atoll.host import read_host
from atoll.host.model import Host
from atoll.plan.selector import gpus
from atoll.report.hold import proof_document, proof_lines
from atoll.report.style import PLAIN
from atoll.twin import Twin


def given_out(twin: Twin, spec: str = SPEC) -> Holding:
    """Return a holder that has given all out."""
    host, plan = planned(twin, spec)
    held = holding(twin, spec)
    held.achieve(host, plan)
    return held


def reset(twin: Twin, held: Holding) -> None:
    """All its devices are reset, by the bus: links are open then."""
    for cluster in held.held:
        for address in cluster.functions:
            twin.reset(address, "bus")


@pytest.mark.parametrize(("sleeps", "verdict"), [(1, "violated"), (2, "unknown")])
def test_what_was_read_before_the_host_slept_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeps: int, verdict: str
) -> None:
    twin = Filed(tmp_path)
    held = given_out(twin)
    slept, reads = 0, 0

    def asleep_after(*arguments: Any, **options: Any) -> Host:
        nonlocal slept, reads
        reads += 1
        found = read_host(*arguments, **options)
        if reads <= sleeps:
            slept += 10**9
            reset(twin, held)
        return found

    monkeypatch.setattr("atoll.guard.holding.read_host", asleep_after)
    monkeypatch.setattr("atoll.guard.proving.slept_ns", lambda: slept)
    assert proved(held)["verdict"] == verdict
    assert reads == 2


def test_what_is_proven_is_about_the_devices_that_were_given_out(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    spec = SPEC.replace('["gpu[1]"]', '["gpu[1]", "gpu[2]"]')
    host, plan = planned(twin, spec)
    held = holding(twin, spec)
    held.achieve(host, plan)
    assert proved(held)["verdict"] == "proven"
    red, blue, blue2 = gpus(host)[:3]
    twin.vfio.close(red)
    twin.write(f"sys/bus/pci/devices/{red}/remove", b"1")
    held._gone.add(red)
    # By their numbers blue's would be red's and blue's now, and the second of them a third one.
    assert proved(held)["verdict"] == "proven"
    twin.vfio.close(blue2)
    twin.write(f"sys/bus/pci/devices/{blue2}/remove", b"1")
    told = proved(held)
    assert told["verdict"] == told["handed_over"] == "unknown"
    assert told["reasons"] == [f"not there any more: {blue2} of blue"]
    assert blue in held.clusters.owner()


def test_a_proof_is_told_again_for_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Filed(tmp_path)
    held = given_out(twin)
    now = 0
    monkeypatch.setattr("atoll.guard.proving.elapsed_ns", lambda: now)
    with held.proving() as proving:
        first = asked(proving)
        assert {"control:nvlink-mask-v100", "configuration-space"} <= set(first["assumptions"])
        told = proof_document(first)
        assert (told["assumptions"], told["verdict"]) == (first["assumptions"], "proven")
        assert "control:nvlink-mask-v100" in "\n".join(proof_lines(first, PLAIN))
        assert told["policy"] == "strict"
        assert "policy" not in proof_lines(first, PLAIN)[0], "told where it is another than the usual one"
        assert proof_lines({**first, "policy": "linux"}, PLAIN)[0].endswith(" (policy linux)")
        reset(twin, held)
        now = 999_999_999
        assert asked(proving) is first
        now = 1_000_000_000
        assert (first["verdict"], asked(proving)["verdict"]) == ("proven", "violated")


def test_what_is_done_while_the_host_is_read_is_in_no_proof_that_is_asked_for_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = Filed(tmp_path)
    held = given_out(twin)
    now = 0
    monkeypatch.setattr("atoll.guard.proving.elapsed_ns", lambda: now)
    with held.proving() as proving:
        order = proving.ask()
        now = 999_999_999
        assert proving.ask() is order
        # The host was read, and keepers tell how it is.
        assert select.select([proving], [], [], 60)[0]
        proving.go_on()
        reset(twin, held)
        now = 1_000_000_000
        later = proving.ask()
        assert proving.ask() is later
        while not later.done:
            assert select.select([proving], [], [], 60)[0]
            proving.go_on()
    assert (order.answer["verdict"], later.answer["verdict"]) == ("proven", "violated")
