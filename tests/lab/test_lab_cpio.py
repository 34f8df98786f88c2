"""The archive writer against a reader of its own, written from the format's description."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from lab.guest.cpio import Entry, device, file, folder, link, write_cpio


@dataclass(frozen=True)
class Member:
    path: str
    mode: int
    data: bytes
    device: tuple[int, int]


def read_cpio(archive: bytes) -> list[Member]:
    members: list[Member] = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * number : at + 14 + 8 * number], 16) for number in range(13)]
        name = archive[at + 110 : at + 110 + fields[11]]
        assert name.endswith(b"\0")
        start = (at + 110 + fields[11] + 3) // 4 * 4
        data = archive[start : start + fields[6]]
        at = (start + fields[6] + 3) // 4 * 4
        if name == b"TRAILER!!!\0":
            assert at == len(archive)
            return members
        members.append(Member(name[:-1].decode(), fields[1], data, (fields[9], fields[10])))


_NAMES = st.text(st.characters(min_codepoint=48, max_codepoint=122), min_size=1, max_size=9)
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(lambda names: "folder-" + "/folder-".join(names) + "/file")


@given(st.dictionaries(_PATHS, st.binary(max_size=40), max_size=8))
def test_every_file_arrives_after_its_folders(files: dict[str, bytes]) -> None:
    members = read_cpio(write_cpio(file(path, data) for path, data in files.items()))
    assert {member.path: member.data for member in members if stat.S_ISREG(member.mode)} == files
    seen: set[str] = set()
    for member in members:
        parent = member.path.rpartition("/")[0]
        assert not parent or parent in seen
        seen.add(member.path)


def test_kinds_and_permissions() -> None:
    entries = [
        file("init", b"#!", executable=True),
        link("bin/python3", "python3.11"),
        folder("proc"),
        device("dev/console", major=5, minor=1),
    ]
    members = {member.path: member for member in read_cpio(write_cpio(entries))}
    assert set(members) == {"init", "bin", "bin/python3", "proc", "dev", "dev/console"}
    assert members["init"].mode == stat.S_IFREG | 0o755
    assert stat.S_ISLNK(members["bin/python3"].mode)
    assert members["bin/python3"].data == b"python3.11"
    assert stat.S_ISDIR(members["proc"].mode)
    assert stat.S_ISCHR(members["dev/console"].mode)
    assert members["dev/console"].device == (5, 1)


def test_the_same_entries_give_the_same_bytes() -> None:
    entries = [Entry("b", stat.S_IFREG | 0o644, b"2"), Entry("a", stat.S_IFREG | 0o644, b"1")]
    assert write_cpio(entries) == write_cpio(reversed(entries))
