"""Ports that would wake up with less ACS than they have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from proofs import proof
from reach_hosts import CLOSED, at, endpoint, flags, machine, port, slots

from atoll.controls.waking import opens_asleep
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Host, Platform
from atoll.pci.acs import AcsFlag
from atoll.pci.header import PortType

PORT = at("00:01.0")


def asleep(host: Host, control: str) -> bool:
    return opens_asleep(host, host.functions[PORT], flags(control))


@pytest.fixture
def host() -> Host:
    return replace(machine(*slots(CLOSED, CLOSED)), command_line=Known("quiet"))


def test_what_the_kernel_sets_again_is_not_lost(host: Host) -> None:
    assert not asleep(host, "SV RR CR UF")
    assert not asleep(host, "")


def test_what_it_does_not_set_is(host: Host) -> None:
    on_power = replace(host, platform=Platform.POWERNV)
    assert asleep(on_power, "SV RR CR UF")
    assert not asleep(on_power, "DT")
    by_hand = replace(host, command_line=Known("pci=disable_acs_redir=00:01.0"))
    assert asleep(by_hand, "RR CR")


def test_what_never_sleeps_loses_nothing(host: Host) -> None:
    on_power = replace(host, platform=Platform.POWERNV)
    assert not asleep(replace(on_power, command_line=Known("quiet pcie_port_pm=off")), "SV RR CR UF")
    bridge = replace(on_power.functions[PORT], port_type=Known(PortType.PCIE_TO_PCI))
    assert not opens_asleep(on_power, bridge, AcsFlag.RR)
    assert not opens_asleep(on_power, on_power.functions[at("01:00.0")], AcsFlag.RR)


def test_a_proof_says_that_it_takes_such_ports_to_stay_awake(host: Host) -> None:
    for found, told in ((host, False), (replace(host, command_line=Known("pci=disable_acs_redir=00:01.0")), True)):
        assumed = {assumption.id for assumption in proof(found, red="01:00.0").assumptions}
        assert ("ports-awake" in assumed) is told


@pytest.mark.parametrize(
    ("control", "told"), [(Known("on"), False), (Known("auto"), True), (Unknown("not captured"), True)]
)
def test_a_port_that_is_seen_to_be_kept_awake_is_not_taken_to_be(host: Host, control: Fact[str], *, told: bool) -> None:
    by_hand = replace(host, command_line=Known("pci=disable_acs_redir=00:01.0"))
    function = replace(by_hand.functions[PORT], power_control=control)
    found = replace(by_hand, functions={**by_hand.functions, PORT: function})
    assert ("ports-awake" in {assumption.id for assumption in proof(found, red="01:00.0").assumptions}) is told


@pytest.mark.parametrize(("awake", "told"), [("02:00.0", False), ("00:01.0", True)])
def test_what_is_awake_keeps_what_is_above_it_awake(awake: str, *, told: bool) -> None:
    """Above a switch's port; not what is below."""
    found = machine(
        port("00:01.0", 1, acs=CLOSED),
        port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None),
        port("02:00.0", 3, "01:00.0", PortType.DOWNSTREAM, acs=CLOSED),
        endpoint("03:00.0", "02:00.0"),
    )
    function = replace(found.functions[at(awake)], power_control=Known("on"))
    functions = {**found.functions, at(awake): function}
    found = replace(found, functions=functions, command_line=Known("pci=disable_acs_redir=pci:8086:1901"))
    assert ("ports-awake" in {assumption.id for assumption in proof(found, red="03:00.0").assumptions}) is told
