"""Links never lead out of a tree, and never in circles for long: in memory, in folders and by text."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.host.resolve import join, resolve
from atoll.host.tree import Tree
from atoll.host.trees.folder import FolderTree
from host.handmade import Link, tree_of

FILES: dict[str, str | bytes] = {
    "sys/real/file": "inside",
    "sys/absolute": Link("/sys/real"),
    "sys/upward": Link("../../../../sys/real/file"),
    "sys/chain": Link("absolute/file"),
    "sys/loop": Link("loop"),
    "sys/ping": Link("pong"),
    "sys/pong": Link("ping"),
    "sys/passwd": Link("/etc/passwd"),
    "sys/dangling": Link("nowhere"),
    "sys/devices/x/resource0": bytes(range(16)),
}


@pytest.fixture(params=["memory", "folder"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    if request.param == "memory":
        return tree_of(FILES)
    for path, value in FILES.items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, Link):
            place.symlink_to(str(value))
        else:
            place.write_bytes(value.encode() if isinstance(value, str) else value)
    return FolderTree(tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        "sys/real/file",
        "/sys/real/file",
        "sys/absolute/file",
        "sys/upward",
        "sys/chain",
        "../../sys/./real/../real/file",
    ],
)
def test_links_resolve_within(tree: Tree, path: str) -> None:
    assert tree.read(path) == b"inside"


@pytest.mark.parametrize("path", ["sys/loop", "sys/ping", "sys/loop/x"])
def test_loops(tree: Tree, path: str) -> None:
    with pytest.raises(OSError, match="Too many levels") as caught:
        tree.read(path)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("path", ["sys/passwd", "sys/dangling", "../etc/passwd", "nothing", "sys/nothing/file"])
def test_outside_is_not_there(tree: Tree, path: str) -> None:
    assert os.path.exists("/etc/passwd")
    with pytest.raises(FileNotFoundError):
        tree.read(path)


def test_kinds_of_errors(tree: Tree) -> None:
    with pytest.raises(NotADirectoryError):
        tree.list("sys/real/file")
    with pytest.raises(NotADirectoryError):
        tree.read("sys/real/file/below")
    with pytest.raises(IsADirectoryError):
        tree.read("sys/real")
    with pytest.raises(OSError, match="Invalid") as caught:
        tree.readlink("sys/real/file")
    assert caught.value.errno == errno.EINVAL


def test_listing_and_links(tree: Tree) -> None:
    assert tree.list("sys/absolute") == ("file",)
    assert tree.readlink("sys/absolute") == "/sys/real"
    assert tree.list("") == ("sys",)


def test_parts_of_files(tree: Tree) -> None:
    assert tree.read("sys/real/file", offset=2, size=3) == b"sid"
    assert tree.read("sys/real/file", offset=4, size=100) == b"de"
    assert tree.read("sys/real/file", offset=100) == b""


def test_bars_are_read_in_aligned_words(tree: Tree) -> None:
    assert tree.read("sys/devices/x/resource0", offset=8, size=4) == bytes([8, 9, 10, 11])
    for offset, size in ((0, None), (0, 8), (2, 4), (0, 1)):
        with pytest.raises(OSError, match="Invalid"):
            tree.read("sys/devices/x/resource0", offset=offset, size=size)


def test_folders_see_changes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    tree = FolderTree(tmp_path)
    assert tree.read("a/x") == b"1"
    (tmp_path / "a" / "x").write_text("2")
    assert tree.read("a/x") == b"2"


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Invalid"):
        FolderTree(tmp_path).read("pipe")


PARTS = st.lists(st.sampled_from(["..", ".", "", "a", "b"]), max_size=8).map("/".join)


@given(PARTS, st.booleans(), PARTS)
def test_join_stays_inside(folder: str, absolute: bool, target: str) -> None:
    joined = join(folder.replace("..", "a"), ("/" if absolute else "") + target)
    assert not joined.startswith("/")
    assert ".." not in joined.split("/")


@given(st.dictionaries(st.sampled_from(["a", "b", "a/a", "a/b", "b/a"]), PARTS, max_size=5), PARTS)
def test_resolution_ends_inside(links: dict[str, str], path: str) -> None:
    try:
        found = resolve(path, links.get)
    except OSError as error:
        found = str(error.errno)
    assert found in (str(errno.ELOOP), str(errno.ENAMETOOLONG)) or ".." not in found.split("/")
    assert found not in links
