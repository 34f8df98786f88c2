"""Devices that are not at hand: asleep, or pulled since they were given away."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Run

from atoll.act import device
from atoll.cli.session import load_twin, save_twin
from atoll.pci.address import Address
from atoll.pci.capability import CapabilityId

RED, BLUE = Address.parse("0004:04:00.0"), Address.parse("0004:05:00.0")
SPEC = f'[cluster.red]\ndevices = ["{RED}"]\n[cluster.blue]\ndevices = ["{BLUE}"]\n'


@pytest.fixture
def spec(run: Run, ac922: Path, tmp_path: Path) -> Path:
    """Both are given to stock vfio-pci, and cut."""
    path = tmp_path / "tenants.toml"
    path.write_text(SPEC)
    # What a guest's start will undo is told, and is no proof once handed over.
    assert run("apply", path, "--host", ac922).code == 1
    return path


def asleep(path: Path, *addresses: Address) -> None:
    """As vfio-pci leaves what nobody has open."""
    twin = load_twin(path)
    for address in addresses:
        space = device.config(twin, address)
        at = space.find(CapabilityId.POWER)
        assert at is not None
        file = f"sys/bus/pci/devices/{address}/config"
        twin.write(file, (space.word(at + 4) | 3).to_bytes(2, "little"), offset=at + 4)
    save_twin(twin, path)


def test_what_sleeps_is_unknown_and_it_is_said_how_to_know(run: Run, ac922: Path, spec: Path) -> None:
    assert run("prove", spec, "--host", ac922).out.startswith("PROVEN now")
    asleep(ac922, RED, BLUE)
    ran = run("prove", spec, "--host", ac922)
    words = " ".join(ran.out.split())
    assert ran.code == 3
    assert ran.out.startswith("UNKNOWN now")
    assert f"the disable mask of {RED} was not read: it sleeps (D3hot)" in words
    assert f"{RED}, {BLUE}: it sleeps (D3hot)" in words
    assert "atoll apply SPEC wakes it" in words
    # As it said: by that it is known.
    ran = run("apply", spec, "--host", ac922)
    assert "PROVEN now; handed over: VIOLATED: atoll prove tells why\n" in ran.out
    assert "no end cuts" not in ran.out


def test_one_that_is_awake_is_enough(run: Run, ac922: Path, spec: Path) -> None:
    asleep(ac922, RED)
    ran = run("prove", spec, "--host", ac922)
    assert ran.out.startswith("PROVEN now")
    assert "sleeps" not in ran.out


def test_what_was_pulled_keeps_nothing_else_from_its_driver(run: Run, ac922: Path, spec: Path) -> None:
    twin = load_twin(ac922)
    twin.write(f"sys/bus/pci/devices/{RED}/remove", b"1")
    save_twin(twin, ac922)
    ran = run("release", spec, "--host", ac922)
    assert (ran.code, ran.err) == (1, "")
    assert f"{RED} is not there" in ran.out
    twin = load_twin(ac922)
    assert twin.readlink(f"sys/bus/pci/devices/{BLUE}/driver").endswith("/nouveau")
    assert run("apply", spec, "--host", ac922).code == 2


def test_what_was_never_there_is_no_name_for_what_was_pulled(run: Run, ac922: Path, spec: Path) -> None:
    spec.write_text(SPEC.replace(str(RED), "0004:44:00.0"))
    ran = run("release", spec, "--host", ac922)
    assert ran.code == 2
    assert "no function 0004:44:00.0 on this host" in ran.err
