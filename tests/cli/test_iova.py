"""``atoll iova``: its document, its words and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from running import CAPTURES, Run

from atoll.cli.iova import maker
from atoll.host import read_host
from atoll.isolation.iova.layout import Cpu

TWIN = "twin:pcie-box"
BARE, CLEAN = "0000:05:00.0", "0000:03:00.0"


def clusters(folder: Path, *devices: str, handover: str = "vfio") -> Path:
    path = folder / "clusters.toml"
    path.write_text(f"[cluster.red]\ndevices = {json.dumps(devices)}\nhandover = {handover!r}\n")
    return path


def test_the_document(run: Run, tmp_path: Path) -> None:
    ran = run("iova", clusters(tmp_path, BARE), "--host", TWIN, "--json")
    assert ran.code == 0
    assert ran.json["schema"] == "atoll.iova/1"
    (cluster,) = ran.json["clusters"]
    assert {
        "name",
        "aperture",
        "reserved",
        "polluted",
        "usable",
        "unassignable",
        "conflicts",
        "unknown",
    } <= cluster.keys()
    assert cluster["aperture"]["end"] == "0xffffffffffff"
    assert [(r["start"], r["end"], r["type"]) for r in cluster["reserved"]] == [("0xfee00000", "0xfeefffff", "msi")]
    polluted = {(entry["claimed_by"], entry["answer"], entry["device"]) for entry in cluster["polluted"]}
    assert ("0000:02:00.0", "direct", BARE) in polluted
    assert all(entry["because"] for entry in cluster["polluted"])
    assert cluster["usable"][-1]["end"] == "0xffffffffffff"
    assert cluster["unassignable"] == cluster["conflicts"] == cluster["unknown"] == []


@pytest.mark.parametrize(
    ("device", "guest", "code"),
    [
        (BARE, ["--guest-memory", "64G"], 0),
        (BARE, ["--guest-memory", "3G", "--machine", "i440fx"], 1),
        (BARE, ["--guest-memory", "3G", "--machine", "i440fx", "--max-ram-below-4g", "2G"], 0),
        (BARE, ["--guest-memory", "65536"], 0),
        ("0000:08:00.0", ["--guest-memory", "3G", "--machine", "pc-i440fx-8.2"], 3),
        ("0000:08:00.0", ["--guest-memory", "3G", "--machine", "pc-i440fx-8.2", "--policy", "trusted"], 0),
        (CLEAN, ["--guest-memory", "400T"], 1),
        (CLEAN, ["--guest-memory", "64G", "--max-memory", "400T"], 3),
        (CLEAN, ["--guest-memory", "64G", "--max-memory", "1T", "--phys-bits", "41"], 0),
        (CLEAN, ["--guest-memory", "64G", "--max-memory", "1T", "--phys-bits", "40"], 1),
        (CLEAN, ["--guest-memory", "64G", "--pci-hole64-size", "2T", "--phys-bits", "41"], 1),
    ],
)
def test_exit_codes(run: Run, tmp_path: Path, device: str, guest: list[str], code: int) -> None:
    spec = clusters(tmp_path, device)
    ran = run("iova", spec, "--host", TWIN, *guest, "--json")
    assert (ran.code, ran.err) == (code, "")
    assert bool(ran.json["clusters"][0]["conflicts"]) is (code != 0)
    text = run("iova", spec, "--host", TWIN, *guest)
    assert text.code == code
    words = {0: "fits", 1: "meets addresses that cannot be used", 3: "may meet addresses"}
    assert words[code] in text.out
    assert max(map(len, text.out.splitlines())) <= 100


def test_a_remedy_is_ready_to_use(run: Run, tmp_path: Path) -> None:
    twin = tmp_path / "box.twin"
    assert run("twin", "new", "pcie-box", twin).code == 0
    spec = clusters(tmp_path, CLEAN)
    guest = ("--guest-memory", "3G", "--machine", "i440fx")
    before = {c["kind"] for c in run("iova", spec, "--host", twin, *guest, "--json").json["clusters"][0]["conflicts"]}
    assert "polluted" not in before
    config = ("twin", "peek", twin, "0000:02:00.0", "--config")
    offset = next(at for at in range(0x100, 0x300, 4) if run(*config, f"{at:#x}", "--json").out.find("000d") >= 0)
    assert run("twin", "poke", twin, "0000:02:00.0", "--config", f"{offset + 4:#x}=0x100000").code == 0
    found = run("iova", spec, "--host", twin, *guest, "--json").json["clusters"][0]["conflicts"]
    hows = {r["how"] for c in found if c["kind"] == "polluted" for r in c["remedies"]}
    assert {"pci=config_acs=xx111x1@0000:02:00.0", "-machine pc,max-ram-below-4g=2G"} <= hows
    assert "pci=config_acs=xx111x1@0000:02:00.0" in run("iova", spec, "--host", twin, *guest).out


def test_powernv_apertures_are_unknown(run: Run, tmp_path: Path) -> None:
    spec = clusters(tmp_path, "0004:04:00.0", handover="held")
    ran = run("iova", spec, "--host", "twin:ac922-4gpu", "--json")
    assert ran.code == 3
    assert ran.json["clusters"][0]["aperture"] is None
    assert ran.json["clusters"][0]["usable"] is None
    assert "not known" in run("iova", spec, "--host", "twin:ac922-4gpu").out


def test_who_made_the_hosts_processor() -> None:
    host = read_host(str(next(path for path in CAPTURES if "amd" in path.name)))
    assert maker(host) is Cpu.AMD
    first = next(iter(host.functions.values()))
    hygon = replace(host, functions={**host.functions, first.address: replace(first, vendor=0x1D94)})
    assert maker(hygon) is None, "QEMU moves no memory for it, AMD's IOMMU or not"
    assert maker(replace(host, iommu_units=())) is None


@pytest.mark.parametrize("capture", CAPTURES[::4], ids=lambda path: path.name)
def test_records(run: Run, tmp_path: Path, capture: Path) -> None:
    functions = run("show", "--host", capture, "--json").json["functions"]
    device = next(f["address"] for f in functions if not f["port"] and int(f["address"][5:7], 16) > 0)
    spec = clusters(tmp_path, device)
    ran = run("iova", spec, "--host", capture, "--guest-memory", "8G", "--json")
    assert ran.code in (0, 1, 3)
    assert {r["type"] for r in ran.json["clusters"][0]["reserved"]} <= {"msi", "reserved"}
    assert max(map(len, run("iova", spec, "--host", capture).out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("twin", "machine"), [(TWIN, "q35"), ("twin:random-1-arm", "virt"), ("twin:ac922-4gpu", "pseries")]
)
def test_a_guest_is_of_the_hosts_own_kind(run: Run, tmp_path: Path, twin: str, machine: str) -> None:
    functions = run("show", "--host", twin, "--json").json["functions"]
    spec = clusters(tmp_path, [f["address"] for f in functions if not f["port"]][-1])
    ran = run("iova", spec, "--host", twin, "--guest-memory", "8G", "--json").json
    assert ran["guest"]["machine"] == machine
    other = run("iova", spec, "--host", twin, "--guest-memory", "8G", "--machine", "crosvm")
    assert (other.code == 2) is (machine != "q35")
    firecracker = run("iova", spec, "--host", twin, "--guest-memory", "8G", "--machine", "firecracker", "--json")
    kinds = {"q35": "firecracker", "virt": "firecracker-arm"}
    if machine in kinds:
        assert firecracker.json["guest"]["machine"] == kinds[machine]
    else:
        assert firecracker.code == 2
    # Below an Arm guest's memory is the window of software MSI, where a PC would have memory.
    assert [c for c in ran["clusters"][0]["conflicts"] if c["kind"] == "reserved"] == []


def test_no_guest_is_laid_out_as_a_pc_where_none_can_be(run: Run, tmp_path: Path) -> None:
    listing = tmp_path / "lspci.txt"
    listing.write_text("Linux host 6.16.0 #1 SMP s390x GNU/Linux\n01:00.0 3D controller [0302]: Device [10de:1db1]\n")
    spec = clusters(tmp_path, "0000:01:00.0")
    for machine, code in (([], 2), (["--machine", "q35"], 2), (["--machine", "pseries"], 3)):
        ran = run("iova", spec, "--host", listing, "--guest-memory", "8G", *machine)
        assert (ran.code, "not known here" in ran.err) == (code, code == 2)
    assert run("iova", spec, "--host", listing).code == 3


def test_a_distributions_machine_type(run: Run, tmp_path: Path) -> None:
    asked = ("--guest-memory", "4G", "--machine", "pc-q35-rhel9.4.0")
    spec = clusters(tmp_path, CLEAN)
    guest = run("iova", spec, "--host", TWIN, *asked, "--json").json["guest"]
    assert (guest["machine"], guest["version"], guest["name"]) == ("q35", "8.2", "pc-q35-rhel9.4.0")
    assert "4 GiB on pc-q35-rhel9.4.0" in run("iova", spec, "--host", TWIN, *asked).out


def test_what_is_not_counted_keeps_cloud_hypervisor_from_starting(run: Run, tmp_path: Path) -> None:
    guest = ("--guest-memory", "4G", "--machine")
    ran = run("iova", clusters(tmp_path, CLEAN), "--host", TWIN, *guest, "cloud-hypervisor")
    assert "starts no guest where one cannot be mapped" in " ".join(ran.out.split())
    assert "starts no" not in run("iova", clusters(tmp_path, CLEAN), "--host", TWIN, *guest, "q35").out


@pytest.mark.parametrize(
    "options",
    [
        ["--machine", "q35"],
        ["--cpu", "amd"],
        ["--guest-memory", "much"],
        ["--guest-memory", "0"],
        ["--guest-memory", "-1G"],
        ["--guest-memory", "9" * 30 + "G"],
        ["--guest-memory", "8G", "--machine", "sparc"],
        ["--guest-memory", "8G", "--machine", "microvm", "--max-memory", "16G"],
        ["--guest-memory", "8G", "--machine", "crosvm", "--max-memory", "16G"],
        ["--guest-memory", "8G", "--machine", "cloud-hypervisor", "--max-memory", "16G", "--memory-slots", "4"],
        ["--guest-memory", "8G", "--machine", "firecracker", "--max-memory", "16G", "--memory-slots", "4"],
        ["--guest-memory", "8G", "--machine", "firecracker-arm"],
        ["--guest-memory", "8G", "--machine", "pc-q35-rhel7.3.0"],
        ["--guest-memory", "8G", "--machine", "virt", "--phys-bits", "40"],
        ["--guest-memory", "8G", "--machine", "microvm", "--max-ram-below-4g", "1G"],
        ["--guest-memory", "8G", "--phys-bits", "64"],
        ["--guest-memory", "8G", "--max-memory", "4G"],
        ["--guest-memory", "8G", "--memory-slots", "4"],
        ["--guest-memory", "8G", "--max-memory", "16G", "--memory-slots", "many"],
        ["--max-memory", "16G"],
        ["--guest-memory", "8G", "--max-ram-below-4g", "8G"],
        ["--guest-memory", "8G", "--cpu", "arm"],
    ],
)
def test_wrong_use(run: Run, tmp_path: Path, options: list[str]) -> None:
    ran = run("iova", clusters(tmp_path, CLEAN), "--host", TWIN, *options)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 2
