"""What a proof rests on: assumptions, each by its id."""

from __future__ import annotations

from dataclasses import replace

import pytest
from proofs import PROVEN, UNKNOWN, VIOLATED, ids, proof, wrong
from reach_hosts import (
    CLOSED,
    at,
    change,
    clusters,
    endpoint,
    gpu,
    links,
    machine,
    port,
    scene,
    slots,
    switch,
)

from atoll.fabric.answer import Policy
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import EndKind, Group, Holder, Host, IommuUnit, ReservedRegion
from atoll.host.records.merge.hosts import merge
from atoll.isolation.proof import Breach, Verdict, prove
from atoll.pci.acs import Acs
from atoll.pci.header import Command


@pytest.mark.parametrize(
    ("word", "policy", "expected"),
    [(CLOSED, Policy.STRICT, set()), (None, Policy.TRUSTED, {"root-complex"})],
)
def test_assumptions_of_policies(word: Acs | None, policy: Policy, expected: set[str]) -> None:
    validated = [replace(f, group=Known(-1)) for f in slots(word, CLOSED)]
    found = proof(machine(*validated), policy, red="01:00.0")
    assert ids(found) - {"configuration-space"} == expected


def test_standing_assumptions() -> None:
    functions = [
        *switch(CLOSED, CLOSED)[:-1],
        gpu("04:00.0", "02:01.0"),
        gpu("05:00.0", "00:02.0"),
        port("00:02.0", 5),
    ]
    host = machine(*functions, links=links("04:00.0", "05:00.0", (0, 0)), masks={"04:00.0": 0x10000})
    found = scene(host)
    open_host = found.settings.with_domain(at("05:00.0"), Domain(DomainKind.IDENTITY))
    answer = prove(replace(found, settings=open_host).reach(), clusters(host, red="04:00.0"))
    assert answer.verdict is PROVEN
    assert ids(answer) == {
        "identity-host-devices",
        "control:nvlink-mask-v100",
        "unsolicited-completions",
        "configuration-space",
    }
    text = {assumption.id: assumption.text for assumption in answer.assumptions}
    assert text["identity-host-devices"].startswith("1 host device")
    assert "observed" in text["control:nvlink-mask-v100"]


def test_whose_driver_was_not_read_is_taken_for_the_hosts() -> None:
    one, other, *ports = slots(CLOSED, CLOSED)
    drivers: dict[Fact[str | None], bool] = {Unknown("not read"): True, Known("nvme"): False, Known(None): False}
    for driver, told in drivers.items():
        functions = [replace(f, driver=driver) if not f.is_port else f for f in (one, other, *ports)]
        found = proof(machine(*functions), red="01:00.0")
        assert ("unread-drivers" in ids(found)) is told
    every = proof(
        machine(*(replace(f, driver=Unknown("not read")) for f in (one, other, *ports))), red="01:00.0", blue="02:00.0"
    )
    assert "unread-drivers" not in ids(every)


@pytest.mark.parametrize(
    ("driver", "kind", "assumed"),
    [
        (Known("nvme"), "DMA", "seen too"),
        (Known("nvme"), "DMA-FQ", "10 ms"),
        (Unknown("not read"), "DMA", "seen too"),
        (Known(None), "DMA-FQ", ""),
        (Known("vfio-pci"), "DMA", ""),
    ],
)
def test_what_drivers_of_the_host_map_is_assumed_to_hold_no_more(
    driver: Fact[str | None], kind: str, assumed: str
) -> None:
    """Of the functions that are named, as long as the kernel's own domain translates for them."""
    host = machine(*change(slots(CLOSED, CLOSED), "01:00.0", driver=driver), kind=kind)
    for tenant, expected in (("01:00.0", assumed), ("02:00.0", "")):
        stated = scene(host).state(clusters(host, red=tenant))
        text = {assumption.id: assumption.text for assumption in stated.proof.assumptions}.get("kernel-mappings", "")
        assert bool(text) is bool(expected)
        assert expected in text
        assert ("10 ms" in text) is (expected == "10 ms")
        assert "kernel-mappings" not in ids(stated.handed_over), "it is held there"


def test_completions_pass_inside_devices_too() -> None:
    """Where functions of one device have different owners; not between devices, below root ports of their own."""
    device = [endpoint(f"01:00.{n}", "00:01.0", acs=CLOSED, multifunction=True) for n in (0, 1)]
    host = machine(port("00:01.0", 1), *device, *slots(CLOSED, CLOSED)[2:])
    for named, assumed in (
        ({"red": "01:00.0"}, True),
        ({"red": "01:00.0 01:00.1"}, False),
        ({"red": "02:00.0"}, False),
    ):
        found = proof(host, **named)
        assert found.verdict is PROVEN
        assert ("unsolicited-completions" in ids(found)) is assumed
        assert any("device of several functions whatever" in a.text for a in found.assumptions) is assumed


# -- parts


@pytest.mark.parametrize("told", [True, False])
def test_xgmi_to_the_processor_is_not_known_to_be_missing(told: bool) -> None:
    """Once vfio-pci has an MI300A, no record shows what its driver showed: that it reaches memory over XGMI."""
    functions = change(slots(CLOSED, CLOSED), "01:00.0", vendor=0x1002, device=0x74A0)
    found = proof(machine(*functions, told=["01:00.0"] if told else []), red="01:00.0", blue="02:00.0")
    assert found.verdict is (PROVEN if told else UNKNOWN)
    reached = {("01:00.0", "memory:blue", Breach.MEMORY), ("01:00.0", "memory:host", Breach.MEMORY)}
    assert wrong(found) == (set() if told else {*reached, ("01:00.0", "02:00.0", Breach.ACCESS)})


def test_what_firmware_wants_mapped_is_an_assumption() -> None:
    """The kernel maps it in the default domain; nobody who uses VFIO gets such a device, or has the relaxable ones."""

    def of(kind: str, holders: tuple[Holder, ...] = ()) -> set[str]:
        host = machine(*slots(CLOSED, CLOSED))
        regions = ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi"), ReservedRegion(0x7B800000, 0x7FFFFFFF, kind)
        groups = {n: replace(g, reserved_regions=Known(regions)) for n, g in value_of(host.groups, {}).items()}
        return ids(proof(replace(host, groups=Known(groups), holders=Known(holders)), red="01:00.0"))

    held = (Holder(7, "vmm", (), (at("01:00.0"),), Known(1)),)
    assert "firmware-mappings" in of("direct")
    assert "firmware-mappings" in of("direct-relaxable")
    assert "firmware-mappings" not in of("reserved")
    assert "firmware-mappings" not in of("direct-relaxable", held)


def _mapped_by_firmware(host: Host, **of: ReservedRegion | Unknown) -> Host:
    """The host with one reserved region, or with none that was read, in the group of each function."""
    groups: dict[int, Group] = {}
    for number, group in value_of(host.groups, {}).items():
        regions = of.get(f"bus{group.members[0].bus:x}")
        told: Fact[tuple[ReservedRegion, ...]] = Known(()) if regions is None else Unknown("not read")
        told = Known((regions,)) if isinstance(regions, ReservedRegion) else told
        groups[number] = replace(group, reserved_regions=told)
    return replace(host, groups=Known(groups))


@pytest.mark.parametrize(
    ("start", "command", "verdict"),
    [
        (0x7B80_0000, Command.MEMORY | Command.MASTER, VIOLATED),
        (0x7C00_0000, Command.MEMORY | Command.MASTER, PROVEN),
        (0x7B80_0000, Command.MEMORY, PROVEN),
        (0x7B80_0000, None, UNKNOWN),
    ],
)
def test_what_firmware_has_mapped_for_devices_of_two_clusters_joins_them(
    start: int, command: Command | None, verdict: Verdict
) -> None:
    """One RMRR for both: what one writes there, the other reads. The host is trusted with its own."""
    settings = Unknown("not read") if command is None else Known(command)
    host = _mapped_by_firmware(
        machine(*change(slots(CLOSED, CLOSED), "02:00.0", command=settings)),
        bus1=ReservedRegion(0x7B00_0000, 0x7BFF_FFFF, "direct"),
        bus2=ReservedRegion(start, start + 0xFFF, "direct-relaxable"),
    )
    found = proof(host, red="01:00.0", blue="02:00.0")
    pairs = {("01:00.0", "02:00.0", Breach.DOMAIN), ("02:00.0", "01:00.0", Breach.DOMAIN)}
    assert (found.verdict, wrong(found) >= pairs) == (verdict, verdict is not PROVEN)
    alone = proof(host, red="01:00.0")
    assert (alone.verdict, "firmware-mappings" in ids(alone)) == (PROVEN, True)


@pytest.mark.parametrize(
    ("start", "kind", "units", "verdict"),
    [
        (0x7B80_0000, "reserved", ("ivhd0", "amd"), VIOLATED),
        (0x7B80_0000, "direct-relaxable", ("ivhd0", "amd"), PROVEN),  # not in a user's domain
        (0x7C00_0000, "reserved", ("ivhd0", "amd"), PROVEN),
        (0xFD_0000_0000, "reserved", ("ivhd0", "amd"), PROVEN),  # the HyperTransport range
        (0x7B80_0000, "reserved", ("dmar0", "intel"), PROVEN),
    ],
)
def test_what_amds_iommu_was_told_not_to_translate_joins_devices_in_any_domain(
    start: int, kind: str, units: tuple[str, str], verdict: Verdict
) -> None:
    functions = slots(CLOSED, CLOSED)
    functions = [replace(one, iommu=Known(units[0])) for one in functions]
    host = replace(machine(*functions), iommu_units=(IommuUnit(*units),))
    first = min(start, 0x7B00_0000) if start < 1 << 32 else start
    host = _mapped_by_firmware(
        host,
        bus1=ReservedRegion(first, first + 0xFF_FFFF, "reserved"),
        bus2=ReservedRegion(start, start + 0xFFF, kind),
    )
    stated = scene(host).state(clusters(host, red="01:00.0", blue="02:00.0"))
    assert stated.handed_over.verdict is verdict
    pair = ("01:00.0", "02:00.0", Breach.DOMAIN)
    assert (pair in wrong(stated.handed_over)) is (verdict is VIOLATED)


def test_what_firmware_has_mapped_may_not_have_been_read() -> None:
    host = _mapped_by_firmware(machine(*slots(CLOSED, CLOSED)), bus1=Unknown("not read"))
    assert "firmware-mappings" in ids(proof(host, red="01:00.0"))
    assert "firmware-mappings" not in ids(proof(host, red="02:00.0"))


def test_that_a_device_minds_its_bus_mastering_bit_is_an_assumption() -> None:
    off = change(slots(CLOSED, CLOSED), "01:00.0", command=Known(Command.MEMORY))
    assert "bus-mastering" in ids(proof(machine(*off), red="01:00.0"))
    assert "bus-mastering" not in ids(proof(machine(*off), red="02:00.0"))
    unread = change(slots(CLOSED, CLOSED), "01:00.0", command=Unknown("not read"))
    assert "bus-mastering" not in ids(proof(machine(*unread), red="01:00.0"))


def test_that_a_virtual_machine_is_what_it_shows_is_an_assumption() -> None:
    host = machine(*slots(CLOSED, CLOSED))
    assert "virtual-machine" not in ids(proof(host, red="01:00.0"))
    assert "virtual-machine" in ids(proof(replace(host, virtual=True), red="01:00.0"))
    assert "virtual-machine" in ids(proof(merge((host, replace(host, virtual=True))), red="01:00.0"))


@pytest.mark.parametrize(
    ("place", "ids_of", "assumed"),
    [
        ("00:01.0", (0x1B36, 0x000C), True),  # QEMU's root port
        ("00:02.0", (0x15AD, 0x07A0), True),  # VMware's
        ("00:01.0", (0x8086, 0x000C), False),
        ("02:00.0", (0x1B36, 0x0010), False),  # a device alone may be anywhere
    ],
)
def test_emulated_ports_show_a_virtual_machine_too(place: str, ids_of: tuple[int, int], assumed: bool) -> None:
    """On other platforms than x86, and in records that do not show the processor."""
    functions = change(slots(CLOSED, CLOSED), place, vendor=ids_of[0], device=ids_of[1])
    found = proof(machine(*functions), red="01:00.0")
    assert found.verdict is PROVEN
    assert ("virtual-machine" in ids(found)) is assumed


@pytest.mark.parametrize(("kind", "assumed"), [(EndKind.OUTSIDE, True), (EndKind.SWITCH, True), (EndKind.CPU, False)])
def test_that_links_off_the_host_lead_to_nobody_else_is_an_assumption(kind: EndKind, assumed: bool) -> None:
    """Chips of a rack join GPUs of many hosts, and a host shows its own."""
    cards = [port("00:01.0", 1), gpu("01:00.0", "00:01.0"), port("00:02.0", 2), endpoint("02:00.0", "00:02.0")]
    led = links("01:00.0", kind, (0, None), name="rack")
    assert ("off-host-links" in ids(proof(machine(*cards, links=led), red="01:00.0"))) is assumed
    assert "off-host-links" not in ids(proof(machine(*cards, links=led), red="02:00.0"))
    assert "off-host-links" not in ids(proof(machine(*cards, links=led, masks={"01:00.0": 0x10000}), red="01:00.0"))


def test_spaces_told_apart_by_process_alone_rest_on_an_assumption() -> None:
    def held(*pids: int) -> set[str]:
        both = zip(pids, (at("01:00.0"), at("02:00.0")), strict=True)
        holders = tuple(Holder(pid, "vmm", (), (device,), Known(1)) for pid, device in both)
        host = replace(machine(*slots(CLOSED, CLOSED)), holders=Known(holders))
        return ids(proof(host, red="01:00.0", blue="02:00.0"))

    assert "separate-containers" in held(10, 11)
    assert "separate-containers" not in held(10, 10)


@pytest.mark.parametrize(
    ("one", "other", "named", "assumed"),
    [
        ("a1", "a1", {"red": "01:00.0"}, True),
        ("a1", "a1", {"red": "01:00.0", "blue": "02:00.0"}, True),
        ("a1", "a1", {"red": "01:00.0 02:00.0"}, False),
        ("a1", "a1", {"red": "03:00.0"}, False),
        ("a1", "a2", {"red": "01:00.0"}, False),
        (None, None, {"red": "01:00.0"}, False),
    ],
)
def test_ends_of_one_device_are_taken_to_keep_owners_apart(
    one: str | None, other: str | None, named: dict[str, str], assumed: bool
) -> None:
    """A serial number is the device's, and the same at all of its ends; that two devices bear one happens too."""
    functions = change(slots(CLOSED, CLOSED, CLOSED), "01:00.0", serial=Known(one))
    found = proof(machine(*change(functions, "02:00.0", serial=Known(other))), **named)
    assert found.verdict is PROVEN
    assert ("ends-of-devices" in ids(found)) is assumed


def test_functions_of_one_device_have_its_serial_number() -> None:
    closed = {"acs": CLOSED, "multifunction": True}
    pair = [endpoint(f"01:00.{n}", "00:01.0", **closed) for n in (0, 1)]  # type: ignore[arg-type]
    host = machine(port("00:01.0", 1, acs=CLOSED), *(replace(one, serial=Known("a1")) for one in pair))
    found = proof(host, red="01:00.0", blue="01:00.1")
    assert found.verdict is PROVEN
    assert "ends-of-devices" not in ids(found)


@pytest.mark.parametrize(
    ("gpu_id", "nic", "named", "assumed"),
    [
        (0x2901, 0x1021, "01:00.0", True),
        (0x2901, 0x1021, "03:00.0", False),
        (0x2901, 0x1017, "01:00.0", False),
        (0x2330, 0x1021, "01:00.0", False),  # H100, whose NVSwitches are functions
        (0x2B85, 0x1021, "01:00.0", False),  # Blackwell without NVLink
    ],
)
def test_what_may_manage_nvswitches_is_taken_not_to(gpu_id: int, nic: int, named: str, assumed: bool) -> None:
    functions = change(slots(CLOSED, CLOSED, CLOSED), "01:00.0", vendor=0x15B3, device=nic, class_code=0x020700)
    functions = change(functions, "02:00.0", vendor=0x10DE, device=gpu_id, class_code=0x030200)
    found = proof(machine(*functions), red=named)
    assert found.verdict is PROVEN
    assert ("nvswitch-management" in ids(found)) is assumed
