"""What doctor makes of the messages in a record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import at, endpoint, machine

from atoll.host.complaint import Complaint, ComplaintKind
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host
from atoll.pci.bar import Bar
from atoll.pci.config import NO_ANSWER
from atoll.report.check import Check, Status
from atoll.report.log_checks import complaint_checks, troubles


def _host() -> Host:
    bars = {"01:00.0": 0xC0000000, "02:00.0": 0xD0000000}
    return machine(
        *(
            replace(endpoint(place), bars=Known((Bar(1, start, 0x10000000, memory=True),)))
            for place, start in bars.items()
        )
    )


def _checks(kind: ComplaintKind, *details: str, place: str | None = "01:00.0") -> list[Check]:
    return list(complaint_checks(_host(), Complaint(kind, None if place is None else at(place), details)))


@pytest.mark.parametrize("kind", list(ComplaintKind))
def test_each_says_what_to_do(kind: ComplaintKind) -> None:
    (check,) = _checks(kind, *(["9c000000"] if kind is ComplaintKind.FAULT else []))
    assert check.id.removeprefix("log-") == kind.value
    assert check.status in (Status.FAIL, Status.WARN)
    assert check.why
    assert check.do
    assert "{" not in check.found + check.why + check.do


def test_a_blocked_request_at_another_device_is_peer_to_peer_traffic() -> None:
    (check,) = _checks(ComplaintKind.FAULT, "1000", "d0001000")
    assert check.found.endswith("of 0000:01:00.0 to 0xd0001000, which is BAR 1 of 0000:02:00.0")
    assert "NCCL_P2P_DISABLE" in check.do
    (own,) = _checks(ComplaintKind.FAULT, "c0001000")
    assert own.found == "the IOMMU blocked a request of 0000:01:00.0 to 0xc0001000"
    assert "NCCL" not in own.do


def test_each_reason_for_which_memory_was_not_mapped() -> None:
    first, second = _checks(ComplaintKind.MAP_REFUSED, "Invalid argument", "Cannot allocate memory", place=None)
    assert "atoll iova" in first.do
    assert "ulimit" in second.do


def test_where_the_log_says_why_no_log_is_asked_for() -> None:
    complaint = Complaint(ComplaintKind.NO_DOMAIN, at("01:00.0"), ("Operation not permitted",))
    host = _host()
    (check,) = complaint_checks(host, complaint)
    assert "dmesg" in check.do
    (check,) = complaint_checks(replace(host, refused=frozenset({at("01:00.0")})), complaint)
    assert check.do == "see firmware-memory"
    assert "RMRR" in check.why


def test_a_device_that_was_asked_and_did_not_answer() -> None:
    host = _host()
    dead = replace(host.functions[at("01:00.0")], acs=Unknown(NO_ANSWER))
    host = replace(host, functions={**host.functions, dead.address: dead})
    (check,) = (c for one in troubles(host) for c in complaint_checks(host, one))
    assert (check.id, check.status) == ("silent", Status.FAIL)
    told = replace(host, complaints=(Complaint(ComplaintKind.SILENT, at("01:00.0")),))
    assert [c.id for one in troubles(told) for c in complaint_checks(told, one)] == ["log-silent"]


def test_interrupt_controllers_that_firmware_leaves_out_are_told_of_together() -> None:
    (check,) = _checks(ComplaintKind.NO_IOAPIC, "7", "8", place=None)
    assert "I/O APIC 7, 8" in check.found
    assert "ivrs_ioapic[7]=00:14.0" in check.do


def test_a_domain_refused_where_interrupts_are_not_remapped() -> None:
    host = replace(_host(), interrupt_remapping=Known(value=False, source="test"))
    for error, told in (("Operation not permitted", "see interrupt-remapping"), ("Invalid argument", "dmesg")):
        (check,) = complaint_checks(host, Complaint(ComplaintKind.NO_DOMAIN, at("01:00.0"), (error,)))
        assert told in check.do
