"""What is said of groups that the hardware does not bear out: a claim of the kernel's, or only a prediction."""

from __future__ import annotations

from dataclasses import replace

from reach_hosts import CLOSED, OFF, machine, scene, switch

from atoll.host.fact import Unknown
from atoll.host.model import Host
from atoll.isolation.groups import predict
from atoll.isolation.honesty import honesty
from atoll.report.groups import groups_lines
from atoll.report.names import Names
from atoll.report.style import PLAIN


def _told(host: Host) -> str:
    prediction = predict(host)
    groups = {function.address: place for place, function in enumerate(host.functions.values())}
    found = honesty(scene(host).reach(), {place: (address,) for address, place in groups.items()})
    return " ".join(" ".join(groups_lines(host, prediction, found, names=Names(), style=PLAIN)).split())


def test_a_prediction_is_no_claim_of_the_kernels() -> None:
    host = machine(*switch(OFF, CLOSED))
    assert "groups told apart by the kernel, not by the hardware as it is set now" in _told(host)
    functions = {a: replace(f, group=Unknown("not shown")) for a, f in host.functions.items()}
    pasted = _told(replace(host, functions=functions, groups=Unknown("not shown")))
    assert "that the kernel's rules would tell apart, and the hardware as it is set now does not" in pasted
    assert "told apart by the kernel" not in pasted
