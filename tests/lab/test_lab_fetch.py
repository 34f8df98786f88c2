"""Fetching without a network: what is in the cache is used, and what goes wrong is one line."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from lab.errors import AbsentError, LabError
from lab.fetch import older_kernel, part, versions_of
from lab.fetch.apt import Apt, Package
from lab.fetch.bundles import ARCHIVES, BUNDLES, KERNELS
from lab.fetch.cache import cache_folder, exclusive, replace_folder, require_space
from lab.fetch.kernel_build import CONFIGURATION, missing_options
from lab.fetch.record import read_versions, write_bundle
from lab.fetch.sources import Mirror

PACKAGE = Package("qemu", "1:11.1+ds-1", "amd64", "qemu_1%3a11.1+ds-1_amd64.deb", 7, "ab" * 32)


def test_where_the_cache_is() -> None:
    assert cache_folder({"ATOLL_LAB_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/atoll-lab")
    assert cache_folder({}) == Path.home() / ".cache/atoll-lab"


def test_what_was_fetched_is_used_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "parts/guest-x86"
    folder.mkdir(parents=True)
    document = {"bundle": repr(BUNDLES["guest-x86"]), "packages": [{"name": "a", "version": "1", "sha256": "c" * 64}]}
    (folder / "packages.json").write_text(json.dumps(document))
    monkeypatch.setenv("PATH", "")
    assert part("guest-x86", cache=tmp_path) == folder
    assert versions_of("guest-x86", cache=tmp_path) == "a=1:cccccccccccc"


def test_what_was_fetched_by_another_table_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "parts/guest-x86"
    folder.mkdir(parents=True)
    (folder / "packages.json").write_text(json.dumps({"bundle": "another", "packages": []}))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("ATOLL_LAB_MIRROR", f"file:{tmp_path}/no-mirror")
    with pytest.raises(LabError) as caught:
        part("guest-x86", cache=tmp_path)
    assert "apt-get is not here" in caught.value.message


def test_a_mirror_that_is_not_there(tmp_path: Path) -> None:
    apt = Apt(tmp_path / "apt", mirror=Mirror(f"file:{tmp_path}/none", ""), suites=("trixie",), architecture="amd64")
    with pytest.raises(LabError) as caught:
        apt.update()
    assert "apt-get -qq update: E:" in caught.value.message
    assert "ATOLL_LAB_MIRROR" in caught.value.hint


def test_no_space_is_said_before(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    with pytest.raises(LabError) as caught:
        require_space(tmp_path, 1 << 62)
    assert "ATOLL_LAB_CACHE" in caught.value.hint


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError), exclusive(tmp_path / "file", "x"):
        pytest.fail("not locked")


def test_one_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with exclusive(tmp_path, "subject"):
            order.append("second")

    thread = threading.Thread(target=second)
    with exclusive(tmp_path, "subject"), exclusive(tmp_path, "another subject"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_what_was_cut_off_with_its_machine_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("ATOLL_LAB_MIRROR", f"file:{tmp_path}/no-mirror")
    (tmp_path / "versions.json").write_bytes(bytes(40))
    assert read_versions(tmp_path) == {}
    place = tmp_path / "parts" / "qemu-x86"
    place.mkdir(parents=True)
    (place / "packages.json").write_bytes(b"")
    with pytest.raises(LabError, match="apt-get is not here"):
        part("qemu-x86", cache=tmp_path)


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for name, word in (("new", "2"), ("place", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(word)
    replace_folder(tmp_path / "new", tmp_path / "place")
    assert (tmp_path / "place/file").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_the_record_keeps_what_others_wrote(tmp_path: Path) -> None:
    assert read_versions(tmp_path) == {}
    write_bundle(tmp_path, "qemu-x86", [PACKAGE])
    write_bundle(tmp_path, "kernel-iommufd", [], source="6.12")
    found = read_versions(tmp_path)
    assert set(found) == {"qemu-x86", "kernel-iommufd"}
    assert found["qemu-x86"]["packages"] == [
        {
            "name": "qemu",
            "version": "1:11.1+ds-1",
            "architecture": "amd64",
            "file": PACKAGE.file,
            "size": 7,
            "sha256": "ab" * 32,
        }
    ]


def test_the_tables_fit_together() -> None:
    assert {bundle.archive for bundle in BUNDLES.values()} == set(ARCHIVES)
    assert {name for name in KERNELS.values() if name} <= set(BUNDLES)


def test_options_that_did_not_take_effect() -> None:
    wanted = 'CONFIG_A=y\nCONFIG_B=n\nCONFIG_C="x=y"\n# CONFIG_D=y\nCONFIG_E=4\n'
    got = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x=y"\nCONFIG_E=4\n'
    assert missing_options(wanted, got) == []
    assert missing_options(wanted, got.replace("A=y", "A=m")) == ["CONFIG_A=y"]
    assert missing_options(wanted, got.replace("# CONFIG_B is not set", "CONFIG_B=y")) == ["CONFIG_B=n"]
    assert "CONFIG_IOMMUFD=y" in CONFIGURATION.read_text()


class FakeApt(Apt):
    """An index of packages, each with what it depends on."""

    def __init__(self, index: dict[str, list[str]]) -> None:
        self.index = index

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.index if name.startswith(prefix)]

    def depends(self, name: str) -> list[str]:
        return self.index.get(name, [])

    def locate(self, *names: str) -> list[Package]:
        return [Package(name, "1", "amd64", f"{name}.deb", 1, "ab" * 32) for name in sorted(names)]


def test_an_older_kernel_of_the_series_where_the_mirror_lacks_the_newest() -> None:
    modules = "linux-modules-6.12.9-cloud-amd64"
    apt = FakeApt(
        {
            "linux-image-6.12.117-cloud-amd64": [],
            "linux-image-6.12.107-amd64": [],
            "linux-image-6.12.30-cloud-amd64-dbg": [],
            "linux-image-6.12.9-cloud-amd64": [modules, "kmod"],
            "linux-image-6.12.8-cloud-amd64": [],
            "linux-image-6.1.0-50-cloud-amd64": [],
            "linux-image-cloud-amd64": [],
        }
    )
    newest = apt.locate("linux-image-6.12.117-cloud-amd64", "linux-image-cloud-amd64")
    older = older_kernel(apt, BUNDLES["kernel-6.12"], newest)
    assert [package.name for package in older] == ["linux-image-6.12.9-cloud-amd64", modules]
    oldest = older_kernel(apt, BUNDLES["kernel-6.12"], apt.locate("linux-image-6.12.8-cloud-amd64"))
    assert oldest == []
    assert older_kernel(apt, BUNDLES["qemu-x86"], newest) == []


def test_a_file_that_the_mirror_lacks_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apt-get").write_text("#!/bin/sh\necho 'E: Failed to fetch x.deb  404  Not Found' >&2\nexit 100\n")
    (programs / "apt-get").chmod(0o755)
    apt = Apt(tmp_path / "apt", mirror=Mirror("file:/none", ""), suites=("trixie",), architecture="amd64")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(AbsentError, match="404"):
        apt.download([PACKAGE], tmp_path)
    (programs / "apt-get").write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
    with pytest.raises(LabError) as caught:
        apt.download([PACKAGE], tmp_path)
    assert not isinstance(caught.value, AbsentError)
