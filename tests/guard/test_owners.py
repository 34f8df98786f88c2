"""Owners: which user each is, and who still has something of theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.controls.registry import registers
from atoll.errors import InputError
from atoll.guard.owners import owner_uid, tenants
from atoll.host import read_host
from atoll.host.fact import Known, value_of
from atoll.host.model import Host
from atoll.host.trees.folder import FolderTree
from atoll.isolation.clusters import Cluster, Handover
from atoll.twin import Twin


@pytest.fixture(autouse=True, scope="module")
def all_users_are_known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Wherever the tests run: a container may know few users."""
    whole = tmp_path_factory.mktemp("users") / "uid_map"
    whole.write_text("0 0 4294967295\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atoll.act.users._MAP", str(whole))
        yield


def cluster(owner: str | int | None) -> Cluster:
    return Cluster("red", (), Handover.HELD, owner=owner)


def test_root_where_none_is_named() -> None:
    assert owner_uid(cluster(None)) == 0


@given(uid=st.integers(0, (1 << 32) - 2))
def test_an_id_is_that_id(uid: int) -> None:
    assert owner_uid(cluster(uid)) == uid


def test_a_name_is_looked_up() -> None:
    import pwd

    entry = pwd.getpwuid(os.getuid())
    assert owner_uid(cluster(entry.pw_name)) == entry.pw_uid


@pytest.mark.parametrize("name", ["no such user", "\0"])
def test_a_name_that_nobody_has_is_an_error(name: str) -> None:
    with pytest.raises(InputError) as caught:
        owner_uid(cluster(name))
    assert "cluster red" in caught.value.message
    assert "owner = 1000" in caught.value.hint


@pytest.mark.parametrize(
    ("mapped", "known"),
    [
        ("0 0 4294967295", {0, 1000, 65534}),
        ("0 100000 65536", {0, 1000}),
        ("0 0 1", {0}),
        ("0 1000 1\n1 100000 65536", {0, 1000}),
        ("1000 1000 1", {1000}),
    ],
)
def test_who_stands_for_all_that_a_user_namespace_does_not_know_owns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: str, known: set[int]
) -> None:
    """There, the same id is that of everybody else too."""
    (tmp_path / "map").write_text("".join(f"{line:>40}\n" for line in mapped.split("\n")))
    monkeypatch.setattr("atoll.act.users._MAP", str(tmp_path / "map"))
    for uid in (0, 1000, 65534):
        if uid in known:
            assert owner_uid(cluster(uid or None)) == uid
        else:
            with pytest.raises(InputError, match=f"cluster red: user {uid} cannot be told from others"):
                owner_uid(cluster(uid or None))


def test_a_kernel_without_user_namespaces_knows_all_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.act.users._MAP", str(tmp_path / "none"))
    assert owner_uid(cluster(65534)) == 65534
    monkeypatch.setattr("atoll.act.users._PROCESS", str(tmp_path / "none as well"))
    with pytest.raises(FileNotFoundError):
        owner_uid(cluster(65534))


def process(root: Path, pid: int, name: str, *files: str) -> None:
    folder = root / "proc" / str(pid) / "fd"
    folder.mkdir(parents=True)
    (folder.parent / "comm").write_text(name + "\n")
    for number, target in enumerate(files):
        (folder / str(number)).symlink_to(target)


def test_who_has_something_open_is_found_keepers_aside(tmp_path: Path) -> None:
    host = read_host(Twin.new("ac922-4gpu"), registers=registers)
    gpu = next(address for address, function in host.functions.items() if function.vendor == 0x10DE)
    group = f"/dev/vfio/{value_of(host.functions[gpu].group, None)}"
    process(tmp_path, 1, "init")
    process(tmp_path, 10, "atoll-hold:red", "/dev/vfio/vfio", group, "anon_inode:[vfio-device]")
    process(tmp_path, 20, "qemu", "/dev/vfio/vfio", group, "anon_inode:[vfio-device]")
    process(tmp_path, 30, "python3", "anon_inode:[vfio-device]")
    process(tmp_path, 40, "other", "/dev/vfio/vfio", "/dev/vfio/4096")
    # What the kernel is about to remove has no name any more.
    process(tmp_path, 50, "vmm", "/dev/iommu", "/dev/vfio/4096", "/dev/vfio/devices/vfio0 (deleted)")
    found = tenants(FolderTree(tmp_path), host, (gpu,), keepers={10})
    assert [(one.pid, one.certain) for one in found] == [(20, True), (30, False), (50, False)]
    assert str(found[1]) == "process 30 (python3), perhaps"


def test_what_cannot_be_seen_is_no_absence(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not captured"):
        tenants(FolderTree(tmp_path), Host("x", {}, Known({})), (), keepers=())
