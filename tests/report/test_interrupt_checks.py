"""What doctor says of interrupt remapping."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import endpoint, machine

from atoll.host.complaint import Complaint, ComplaintKind
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host, KernelRelease
from atoll.host.trees.memory import MemoryTree
from atoll.report.check import Check, Status, Subject
from atoll.report.interrupt_checks import interrupts


def _check(host: Host) -> Check:
    (check,) = interrupts(Subject(host, MemoryTree("test"), None))
    return check


def _on_chipset(device: int, revision: int | None) -> Host:
    told = Unknown("not read") if revision is None else Known(revision, "test")
    bridge = replace(endpoint("00:00.0", ids=(0x8086, device), class_code=0x060000), revision=told)
    return replace(machine(bridge), interrupt_remapping=Unknown("no boot log"))


@pytest.mark.parametrize(
    ("device", "revision", "flawed"),
    [
        (0x3405, 0x13, True),
        (0x3406, 0x12, True),
        (0x3405, 0x22, True),
        (0x3406, 0x22, False),
        (0x3403, 0x14, False),
        (0x3405, None, False),
        (0x0C00, 0x06, False),
    ],
)
def test_a_chipset_whose_remapping_the_kernel_leaves_off(device: int, revision: int | None, flawed: bool) -> None:
    host = _on_chipset(device, revision)
    check = _check(host)
    assert check.status is Status.UNKNOWN
    assert check.found.startswith("most likely off") is flawed
    assert ("allow_unsafe_interrupts" in check.do) is flawed
    on = _check(replace(host, interrupt_remapping=Known(value=True, source="test")))
    assert on.status is Status.OK


def test_it_is_said_since_when_where_the_release_is_not_known() -> None:
    host = _on_chipset(0x3405, 0x13)
    old, new = (replace(host, kernel=Known(KernelRelease(*number, "x"), "test")) for number in ((3, 9), (4, 15)))
    assert "since 3.10" in _check(replace(host, kernel=Unknown("not told"))).found
    assert "since 3.10" in _check(old).found
    assert "since" not in _check(new).found


@pytest.mark.parametrize(
    ("kind", "told"),
    [(ComplaintKind.NO_IOAPIC, "see log-no-ioapic"), (ComplaintKind.ERRATUM, "see log-remapping-erratum")],
)
def test_where_the_log_says_why_it_is_off(kind: ComplaintKind, told: str) -> None:
    host = replace(machine(endpoint("01:00.0", group=1)), interrupt_remapping=Known(value=False, source="test"))
    assert "update it" in _check(host).do
    assert _check(replace(host, complaints=(Complaint(kind, None, ("7",)),))).do == told


def test_what_the_command_line_has_is_named() -> None:
    host = machine(endpoint("01:00.0", group=1), command_line="quiet intremap=off")
    host = replace(host, interrupt_remapping=Known(value=False, source="test"))
    assert _check(host).do == "take intremap=off off the command line"


def test_without_an_iommu_there_is_no_remapping() -> None:
    host = replace(machine(endpoint("01:00.0")), groups=Known({}, "test"))
    check = _check(replace(host, interrupt_remapping=Known(value=False, source="no IOMMU is in use")))
    assert check.do.startswith("it comes with the IOMMU")
