"""What is behind Volume Management Devices: files, groups, drivers, configuration space and traffic."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Attack, Twin, TwinError
from atoll.twin.machines import vmd
from atoll.twin.machines.intel import PORT_ACS
from atoll.twin.spec import DomainKind, Routing
from twin.bench import at, give, set_acs, set_command, sysfs, text
from twin.small import bridge, card, small

FIRST, SECOND = at("0000:00:05.5"), at("0000:80:05.5")
DISK, DRIVE, BESIDE = (at(f"10000:{bus:02x}:00.0") for bus in (1, 2, 6))
OTHER = at("10001:01:00.0")
CARD = at("0000:02:00.0")
DISK_PORT, DRIVE_PORT = at("10000:00:02.0"), at("10000:00:03.0")
SV, RR, CR, UF = 0x01, 0x04, 0x08, 0x10


def group(twin: Twin, address: Address) -> set[str]:
    return set(twin.list(sysfs(address, "iommu_group/devices")))


def vias(attack: Attack) -> list[tuple[str, str]]:
    return [(hop.at, hop.via) for hop in attack.path]


def behind(*, routing: Routing = Routing.DIRECT, domain: DomainKind = DomainKind.DMA, companion: bool = False) -> Twin:
    """Two cards, each behind a root port of its own behind a device, and one that is not."""
    place = Address(0, 0, 0x0E, 5 if companion else 0)
    segment = vmd.segment(0, 0xE0, place, routing, 0)
    inside = [
        bridge("10000:e0:01.0", PortType.ROOT_PORT, (0xE1, 0xE1), PORT_ACS),
        card("10000:e1:00.0"),
        bridge("10000:e0:02.0", PortType.ROOT_PORT, (0xE2, 0xE2), PORT_ACS),
        card("10000:e2:00.0"),
    ]
    outside = [
        bridge("00:01.0", PortType.ROOT_PORT, (1, 1), PORT_ACS),
        card("01:00.0"),
        vmd.device(segment, inside, ids=0x201D, iommu="dmar0", multifunction=companion),
    ]
    if companion:
        outside.append(vmd.companion(place._replace(function=0), iommu="dmar0", numa=0))
    return small(*outside, *inside, domain=domain, behind=(segment,))


# -- files


def test_the_segment_hangs_from_its_device() -> None:
    twin = Twin.new("vmd-server")
    folder = "devices/pci0000:00/0000:00:05.5/pci10000:00"
    assert twin.readlink(f"sys/bus/pci/devices/{DISK}") == f"../../../{folder}/{DISK_PORT}/{DISK}"
    assert twin.readlink("sys/class/block/nvme0n1").startswith(f"../../{folder}/{DISK_PORT}/{DISK}/nvme/")
    assert twin.list("sys/devices") == ("pci0000:00", "pci0000:80", "virtual")
    assert twin.list(f"sys/{folder}/pci_bus") == ("10000:00",)
    assert twin.readlink(sysfs(FIRST, "domain")) == "pci10000:00/pci_bus/10000:00"
    assert twin.readlink(sysfs(DRIVE, "iommu")).endswith("/virtual/iommu/dmar0")
    assert twin.readlink(sysfs(OTHER, "iommu")).endswith("/virtual/iommu/dmar1")


def lines(twin: Twin, address: Address) -> list[tuple[int, ...]]:
    return [
        tuple(int(word, 16) for word in line.split()) for line in text(twin, sysfs(address, "resource")).splitlines()
    ]


def test_its_windows_are_the_devices_memory_bars() -> None:
    twin = Twin.new("vmd-server")
    bars, port, drive = lines(twin, FIRST), lines(twin, DRIVE_PORT), lines(twin, DRIVE)
    assert bars[2][0] <= port[14][0] <= drive[0][0] < drive[0][1] <= port[14][1] <= bars[2][1]
    assert bars[0][1] + 1 - bars[0][0] == 0x80 << 20, "a mebibyte of configuration space for each bus"
    assert [bar[2] for bar in bars[:5:2]] == [0x14220C, 0x40200, 0x140204]


def test_the_first_bar_is_the_configuration_space_behind() -> None:
    twin = Twin.new("vmd-server")
    place = DRIVE.bus << 20
    assert twin.peek(FIRST, "bar0", place) == 0x0A548086 == twin.peek(DRIVE, "config", 0)
    assert twin.peek(FIRST, "bar0", place | 1 << 15) == 0xFFFFFFFF, "there is no device 1"
    twin.poke(FIRST, "bar0", place + 4, 0x2)
    assert twin.read(sysfs(DRIVE, "config"))[4] == 0x2
    twin.poke(FIRST, "config", 4, 0x4)
    assert twin.peek(DRIVE, "config", 0) == 0xFFFFFFFF, "the device does not decode"
    assert set(twin.read(sysfs(DRIVE, "config"))) == {0xFF}
    twin.poke(DRIVE, "config", 4, 0x6)
    twin.poke(FIRST, "config", 4, 0x6)
    assert twin.read(sysfs(DRIVE, "config"))[4] == 0x2, "what was written did not arrive"


# -- the kernel


def test_everything_behind_is_in_the_devices_group() -> None:
    twin = Twin.new("vmd-server")
    first, second = group(twin, FIRST), group(twin, SECOND)
    assert first == {str(FIRST), *(name for name in twin.list("sys/bus/pci/devices") if name.startswith("10000:"))}
    assert second == {str(SECOND), *(name for name in twin.list("sys/bus/pci/devices") if name.startswith("10001:"))}
    assert len(first) == 11
    assert group(twin, at("0000:00:05.0")) == {"0000:00:05.0"}, "Intel's endpoints of the root complex are apart"


def test_acs_behind_changes_no_group() -> None:
    twin = behind()
    assert group(twin, at("10000:e1:00.0")) == {f"10000:e0:0{n}.0" for n in (1, 2)} | {
        *("10000:e1:00.0", "10000:e2:00.0", "0000:00:0e.0")
    }
    set_acs(twin, at("10000:e0:01.0"), SV | RR | CR | UF)
    before = group(twin, at("10000:e1:00.0"))
    twin.write(sysfs(at("10000:e1:00.0"), "remove"), b"1")
    assert group(twin, at("0000:00:0e.0")) == before - {"10000:e1:00.0"}
    twin.write("sys/devices/pci0000:00/0000:00:0e.0/pci10000:e0/pci_bus/10000:e0/rescan", b"1")
    assert group(twin, at("10000:e1:00.0")) == before


def test_the_segment_comes_and_goes_with_the_driver() -> None:
    twin = Twin.new("vmd-server")
    before = group(twin, FIRST)
    twin.write("sys/bus/pci/drivers/vmd/unbind", str(FIRST).encode())
    assert not [name for name in twin.list("sys/bus/pci/devices") if name.startswith("10000:")]
    assert "pci10000:00" not in twin.list("sys/devices/pci0000:00/0000:00:05.5")
    assert "domain" not in twin.list("sys/bus/pci/devices/0000:00:05.5")
    assert group(twin, FIRST) == {str(FIRST)}
    twin.write("sys/bus/pci/rescan", b"1")
    assert not [name for name in twin.list("sys/bus/pci/devices") if name.startswith("10000:")]
    twin.write("sys/bus/pci/drivers/vmd/bind", str(FIRST).encode())
    assert group(twin, FIRST) == before
    twin.write(sysfs(FIRST, "remove"), b"1")
    assert not [name for name in twin.list("sys/bus/pci/devices") if name.startswith("10000:")]
    assert [name for name in twin.list("sys/bus/pci/devices") if name.startswith("10001:")]
    twin.write("sys/bus/pci/rescan", b"1")
    assert group(twin, FIRST) == before


def test_what_is_behind_cannot_be_given_away_while_the_host_runs_the_device() -> None:
    twin = Twin.new("vmd-server")
    give(twin, DRIVE)
    with pytest.raises(OSError, match=r"0000:00:05\.5 has vmd") as refused:
        twin.lease_vfio(DRIVE, holder="red")
    assert refused.value.errno == errno.EPERM


def test_nothing_is_found_through_a_device_that_does_not_decode() -> None:
    twin = behind()
    twin.write(sysfs(at("10000:e1:00.0"), "remove"), b"1")
    set_command(twin, at("0000:00:0e.0"), off=0x2)
    twin.write("sys/bus/pci/rescan", b"1")
    assert "10000:e1:00.0" not in twin.list("sys/bus/pci/devices")
    set_command(twin, at("0000:00:0e.0"), on=0x2)
    twin.write("sys/bus/pci/rescan", b"1")
    assert "10000:e1:00.0" in twin.list("sys/bus/pci/devices")


def test_ats_stays_off_behind() -> None:
    segment = vmd.segment(0, 0, Address(0, 0, 0x0E, 0), Routing.DIRECT, 0)
    inside = [bridge("10000:00:01.0", PortType.ROOT_PORT, (1, 1), PORT_ACS), card("10000:01:00.0", ats=True)]
    device = vmd.device(segment, inside, ids=0x201D, iommu="dmar0")
    twin = small(device, *inside, card("00:02.0", ats=True, port=PortType.ROOT_INTEGRATED), behind=(segment,))
    functions = twin.kernel.hardware.functions
    assert functions[at("0000:00:02.0")].ats
    assert not functions[at("10000:01:00.0")].ats


def test_a_saved_twin_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "my.twin"
    twin = Twin.new("vmd-server")
    twin.write("sys/bus/pci/drivers/vmd/unbind", str(SECOND).encode())
    twin.save(path)
    again = Twin.load(path)
    assert again.list("sys/bus/pci/devices") == twin.list("sys/bus/pci/devices")
    assert group(again, DRIVE) == group(twin, DRIVE)
    damaged = path.read_text().replace('"driver": "vmd"', '"driver": null')
    path.write_text(damaged)
    with pytest.raises(TwinError, match=r"is behind 0000:00:05\.5, which no driver has"):
        Twin.load(path)


# -- traffic


def test_requests_from_behind_are_translated_as_the_devices() -> None:
    twin = behind(domain=DomainKind.IDENTITY)
    attack = twin.attack(at("10000:e1:00.0"), at("0000:01:00.0"))
    assert vias(attack) == [
        ("10000:e1:00.0", "sends"),
        ("10000:e0:01.0", "up"),
        ("0000:00:0e.0", "up"),
        ("pci0000:00", "translation"),
        ("pci0000:00", "down"),
        ("0000:00:01.0", "down"),
        ("0000:01:00.0", "arrives"),
    ]
    assert attack.path[2].because == "takes requester id 0070"
    assert attack.path[3].because == "0000:00:0e.0 has an identity domain"
    assert not behind().attack(at("10000:e1:00.0"), at("0000:01:00.0")).reached


def test_peers_behind_reach_each_other_where_the_port_does_not_redirect() -> None:
    twin = behind()
    one, two = at("10000:e1:00.0"), at("10000:e2:00.0")
    assert [hop.via for hop in twin.attack(one, two).path] == ["sends", "across the root complex", "down", "arrives"]
    set_acs(twin, at("10000:e0:01.0"), SV | RR | CR | UF)
    assert not twin.attack(one, two).reached
    assert twin.attack(two, one).reached
    translated = behind(routing=Routing.TRANSLATED)
    assert not translated.attack(one, two).reached


def test_from_outside_the_way_leads_through_the_devices_memory() -> None:
    twin = behind()
    set_acs(twin, at("0000:00:01.0"), 0)
    attack = twin.attack(at("0000:01:00.0"), at("10000:e1:00.0"))
    assert vias(attack)[1:] == [
        ("0000:00:01.0", "across the root complex"),
        ("0000:00:0e.0", "down"),
        ("10000:e0:01.0", "down"),
        ("10000:e1:00.0", "arrives"),
    ]
    set_command(twin, at("0000:00:0e.0"), off=0x2)
    assert not twin.attack(at("0000:01:00.0"), at("10000:e1:00.0")).reached, "the device does not decode"


def test_the_start_of_the_last_bar_is_the_devices_own() -> None:
    twin = behind()
    set_acs(twin, at("0000:00:01.0"), 0)
    attack = twin.attack(at("0000:01:00.0"), at("0000:00:0e.0"))
    hit = {
        attempt.target.split(" of ")[0] for attempt in attack.attempts if attempt.delivered and "BAR" in attempt.target
    }
    assert hit == {"BAR 0", "BAR 4"}, "in the second one nobody answers, or a function behind"


def test_a_guest_that_owns_the_device_owns_what_is_behind() -> None:
    twin = behind(companion=True)
    device, inside = at("0000:00:0e.5"), at("10000:e1:00.0")
    give(twin, device)
    lease = twin.lease_vfio(device, holder="red")
    set_command(twin, device, on=0x6)
    set_command(twin, inside, on=0x6)
    set_command(twin, at("10000:e0:01.0"), on=0x6)
    attempts = twin.attack(inside, device).attempts
    assert any(hop.because == "red maps memory of red" for attempt in attempts for hop in attempt.path)
    assert not twin.attack(inside, at("0000:01:00.0")).reached
    lease.close()


def test_completions_stay_in_their_segment() -> None:
    twin = behind()
    assert twin.attack(at("10000:e1:00.0"), at("10000:e2:00.0")).completions_delivered
    assert not twin.attack(at("10000:e1:00.0"), at("0000:01:00.0")).completions_delivered
