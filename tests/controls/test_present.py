"""Settings as read: nothing that was not read looks as if it were set."""

from __future__ import annotations

from dataclasses import replace

from reach_hosts import acs, at, endpoint, flags, gpu, machine, port

from atoll.controls.present import present
from atoll.host.fact import Known, Unknown
from atoll.host.model import Register
from atoll.pci.header import Command

GPU = at("01:00.0")


def test_registers_as_read() -> None:
    host = machine(
        port("00:01.0", 1, acs=acs("SV EC", "SV RR EC", vector=5), command=Command.MEMORY),
        endpoint("01:00.0", "00:01.0", ats=True),
        endpoint("02:00.0", ats=False, command=None),
        gpu("03:00.0"),
        masks={"03:00.0": 0x150000},
    )
    found = present(host)
    assert found.acs == {at("00:01.0"): flags("SV EC")}
    assert found.egress == {at("00:01.0"): 5}
    assert found.ats == {at("01:00.0"): True, at("02:00.0"): False}
    assert found.cut == {at("03:00.0"): frozenset({0, 2, 4})}
    assert found.command[at("00:01.0")] is Command.MEMORY
    assert found.command[at("02:00.0")] is None
    assert (found.can_master(at("00:01.0")), found.can_master(at("02:00.0"))) == (False, None)
    assert (found.decodes_memory(at("00:01.0")), found.decodes_memory(at("02:00.0"))) == (True, None)


def test_what_was_not_read_is_absent_or_none() -> None:
    host = machine(
        port("00:01.0", 1, acs=Unknown("cut")), endpoint("02:00.0", ats=Unknown("cut")), gpu("01:00.0", "00:01.0")
    )
    found = present(replace(host, registers={}))
    assert found.acs == {}
    assert found.ats == {}
    assert found.cut == {GPU: None}


def test_a_cut_that_is_only_assumed_to_work_counts_when_asked_for() -> None:
    pascal = endpoint("01:00.0", ids=(0x10DE, 0x15F9))
    boot, mask = Register(0, 0), Register(0, 0xA00148)
    for value, cut in ((0x30000, frozenset({0, 1})), (0, frozenset[int]())):
        host = replace(machine(pascal), registers={(GPU, boot): Known(0x130000A1), (GPU, mask): Known(value)})
        assert present(host, allow_assumed=True).cut == {GPU: cut}
        assert present(host).cut == {GPU: None if cut else cut}, "an open link is open all the same"
