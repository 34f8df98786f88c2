"""Several folders or archives of one machine: what they disagree about is told, and does not count."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import CAPTURES, Run, unpack

from atoll.pci.capability import ExtendedId, walk_extended
from atoll.pci.config import ConfigSpace

CAPTURE = next(path for path in CAPTURES if path.name == "linux-7.3-q35-intel-207.tar.xz")
PORT = "sys/devices/pci0000:00/0000:00:05.0/config"
"""Of a root port whose ACS redirects; 0000:06:01.0 is below it."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A machine recorded twice; somebody switched ACS off at a root port in between."""
    folder = tmp_path_factory.mktemp("after")
    unpack(CAPTURE, folder)
    config = folder / PORT
    data = bytearray(config.read_bytes())
    walked = walk_extended(ConfigSpace(lambda offset, size: bytes(data[offset : offset + size])).dword)
    at = next(offset for capability, offset in walked.entries if capability == ExtendedId.ACS)
    assert data[at + 6] == 0x1D
    data[at + 6 : at + 8] = bytes(2)
    config.chmod(0o644)
    config.write_bytes(data)
    return CAPTURE, folder


def test_acs_that_two_folders_disagree_about_is_unknown_in_either_order(run: Run, two: tuple[Path, Path]) -> None:
    for first, second in (two, reversed(two)):
        hosts = ("--host", first, "--host", second)
        gap = next(g for g in run("show", *hosts, "--json").json["gaps"] if g["what"] == "acs of 0000:00:05.0")
        told = ("SrcValid+", "SrcValid-", f"{first}: {PORT}", f"{second}: {PORT}")
        assert [word for word in told if word not in gap["why"]] == []
        assert "0000:06:01.0" in run("groups", *hosts, "--json").json["undetermined"]


def test_nothing_is_proven_of_what_they_disagree_about(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text('[cluster.a]\ndevices = ["0000:0d:00.0"]\n[cluster.b]\ndevices = ["0000:06:01.0"]\n')

    def about_the_port(*hosts: Path) -> list[str]:
        named = [word for host in hosts for word in ("--host", str(host))]
        document = run("prove", spec, "--policy", "trusted", "--json", *named).json
        return [pair["from"] for pair in document["unknown"] if "0000:00:05.0" in str(pair)]

    assert not about_the_port(two[0])
    assert about_the_port(two[0], two[1])


def test_the_same_twice_is_as_once(run: Run, two: tuple[Path, Path]) -> None:
    for verb in ("show", "groups", "atoms"):
        once = run(verb, "--json", "--host", two[0]).json
        twice = run(verb, "--json", "--host", two[0], "--host", two[0]).json
        assert {**twice, "host": ""} == {**once, "host": ""}


def test_a_folder_without_functions_is_held_against_the_others_too(run: Run, tmp_path: Path) -> None:
    unpack(CAPTURE, tmp_path, "sys/kernel/iommu_groups")
    hosts = ("--host", CAPTURE, "--host", tmp_path)
    assert "group" not in str([gap["what"] for gap in run("show", *hosts, "--json").json["gaps"]])
    place = tmp_path / "sys/kernel/iommu_groups"
    (place / "15/devices/0000:06:01.0").rename(place / "16/devices/0000:06:01.0")
    gaps = run("show", *hosts, "--json").json["gaps"]
    assert any(gap["what"] == "group of 0000:06:01.0" for gap in gaps)


def test_records_that_disagree_are_not_captured_as_one(run: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "host.tar.xz"
    ran = run("capture", file, "--host", two[0], "--host", two[1])
    assert ran.code == 2
    assert "they disagree about acs of 0000:00:05.0" in ran.err
    assert not file.exists()
    ran = run("capture", file, "--host", two[0], "--host", two[0])
    assert ran.code == 0
    assert "Not the same" not in ran.out
