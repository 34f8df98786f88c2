"""Groups that formed before ACS came on: what they look like, and when the kernel is not to blame."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, OFF, acs, at, endpoint, machine, port, scene

from atoll.host.fact import Known, Unknown
from atoll.host.model import Function, Host, KernelRelease, Platform
from atoll.isolation.grouping import grouping
from atoll.isolation.groups.late_acs import formed_before_acs
from atoll.pci.header import PortType
from atoll.report.grouping import grouping_lines
from atoll.report.names import Names
from atoll.report.style import PLAIN

GPU, DRIVE = at("01:00.0"), at("02:00.0")


def _together(first: object = CLOSED, *, kernel: tuple[int, int] | None = (6, 12), drive: int = 5) -> Host:
    """Two root ports of one device beside a function without ACS, a card below each, and all in one group."""
    dummy = endpoint("00:01.0", port_type=PortType.CONVENTIONAL, multifunction=True, group=5, class_code=0x060000)
    ports = [port("00:01.1", 1, acs=first), port("00:01.2", 2, acs=CLOSED)]  # type: ignore[arg-type]
    cards = [
        *(endpoint(f"01:00.{n}", "00:01.1", acs=None, multifunction=True, group=5) for n in range(2)),
        endpoint("02:00.0", "00:01.2", group=drive),
    ]
    made: list[Function] = [dummy, *(replace(f, multifunction=Known(True), group=Known(drive)) for f in ports), *cards]
    made = [replace(f, group=Known(5)) if f.address == at("00:01.1") else f for f in made]
    release = Known(KernelRelease(*kernel, "")) if kernel is not None else Unknown("not shown")
    return replace(machine(*made), kernel=release)


def test_as_with_all_acs_off() -> None:
    assert formed_before_acs(_together(), (GPU, DRIVE))
    assert formed_before_acs(_together(kernel=None), (GPU,))
    assert not formed_before_acs(_together(), ())


def test_not_where_the_kernel_sets_acs_first_or_not_at_all() -> None:
    assert not formed_before_acs(_together(kernel=(6, 15)), (GPU,))
    assert not formed_before_acs(replace(_together(), platform=Platform.POWERNV), (GPU,))


def test_not_where_that_explains_some_only() -> None:
    assert not formed_before_acs(_together(drive=6), (GPU, DRIVE))


@pytest.mark.parametrize("state", [OFF, None, acs("", "")])
def test_not_where_nothing_came_on(state: object) -> None:
    host = _together(state)
    off = {a: replace(f, acs=Known(state)) if f.is_port else f for a, f in host.functions.items()}  # type: ignore[arg-type]
    assert not formed_before_acs(replace(host, functions=off), (GPU,))


def test_what_a_person_reads() -> None:
    host = _together()
    found = scene(host)
    told = grouping(found.topology, found.settings, GPU)
    assert (told.before_acs, told.slots, set(told.predicted)) == (True, None, {GPU, at("01:00.1")})
    words = " ".join(" ".join(grouping_lines(host, told, names=Names(), style=PLAIN)).split())
    assert words.startswith(
        "0000:01:00.0 shares group 5 with 2 functions of other devices; by the rules as ACS is now it should not: as "
        "if ACS had come on after the groups formed."
    )
    assert 'commit c41e2fb67e26 "PCI: Enable ACS after configuring IOMMU' in words
    assert "the kernel finding it anew, as ACS is now: predicted 0000:01:00.0 with 0000:01:00.1" in words


def test_what_its_own_device_lacks_joins_it_to_no_other() -> None:
    """Without that explanation the card's own functions are no reason either for who else is in the group."""
    host = _together(kernel=(7, 0))
    found = scene(host)
    told = grouping(found.topology, found.settings, GPU)
    words = " ".join(" ".join(grouping_lines(host, told, names=Names(), style=PLAIN)).split())
    assert not told.before_acs
    assert "with 2 functions of other devices; by the rules it should not: the groups are of another boot" in words
