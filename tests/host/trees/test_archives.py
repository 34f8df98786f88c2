"""Archives: everything a sound one holds is found, and nothing a hostile one tries has any effect."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InputError
from atoll.host.open import open_named
from atoll.host.records.content import Record
from atoll.host.trees.archive import ArchiveLimits, read_archive
from atoll.host.trees.memory import FileEntry, LinkEntry
from atoll.host.trees.tar import read_members
from host.handmade import opened_tree

CAPTURES = Path(__file__).parents[2] / "data" / "kernel-captures"


def member(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return info, data


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


SOUND = archive(
    member("sys/file", b"hello"),
    member("sys/link", kind=tarfile.SYMTYPE, target="file"),
    member("sys/twin", kind=tarfile.LNKTYPE, target="sys/file"),
    member("sys/folder", kind=tarfile.DIRTYPE),
    member("sys/node", kind=tarfile.CHRTYPE),
)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_compressions(tmp_path: Path, compress: type[bytes]) -> None:
    tree = opened_tree(write(tmp_path / "record", compress(SOUND)))
    assert tree.list("sys") == ("file", "folder", "link", "twin")
    assert tree.read("sys/link") == tree.read("sys/twin") == b"hello"
    assert tree.list("sys/folder") == ()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_forms_and_long_names(tmp_path: Path, form: int) -> None:
    name = "sys/" + "/".join(["x" * 40] * 4) + "/file"
    tree = read_archive(write(tmp_path / "t", archive(member(name, b"1"), form=form)))
    assert tree.read(name) == b"1"


def test_names_beyond_ascii(tmp_path: Path) -> None:
    target = "y" * 150
    data = archive(member("sys/é" + "z" * 120, b"1"), member("sys/link", kind=tarfile.SYMTYPE, target=target))
    tree = read_archive(write(tmp_path / "t", data))
    assert tree.read("sys/é" + "z" * 120) == b"1"
    assert tree.readlink("sys/link") == target


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("*.tar.xz"))[:4], ids=lambda path: path.name)
def test_agrees_with_tarfile(capture: Path) -> None:
    tree = read_archive(capture)
    with tarfile.open(capture) as tar:
        expected = {}
        for info in tar:
            if info.issym():
                expected[info.name] = info.linkname.encode()
            elif info.isfile():
                file = tar.extractfile(info)
                assert file is not None
                expected[info.name] = file.read()
    found = {}
    for path in tree:
        entry = tree.entry(path)
        assert isinstance(entry, FileEntry | LinkEntry)
        found[path] = entry.data if isinstance(entry, FileEntry) else entry.target.encode()
    assert found == expected
    assert len(found) > 500


def test_one_folder_on_top_is_the_root(tmp_path: Path) -> None:
    wrapped = read_archive(write(tmp_path / "a", archive(member("host-1/sys/x", b"1"))))
    assert wrapped.read("sys/x") == b"1"
    plain = read_archive(write(tmp_path / "b", archive(member("sys/x", b"1"))))
    assert plain.read("sys/x") == b"1"
    two = read_archive(write(tmp_path / "c", archive(member("host/sys/x", b"1"), member("notes", b""))))
    assert two.read("host/sys/x") == b"1"


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "sys/../../x", "sys/.."])
def test_members_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="outside"):
        read_archive(write(tmp_path / "t", archive(member(name, b"x"))))


def test_links_do_not_carry_members_away(tmp_path: Path) -> None:
    data = archive(member("sys/out", kind=tarfile.SYMTYPE, target="/"), member("sys/out/etc/x", b"x"))
    with pytest.raises(InputError, match="contradicts"):
        read_archive(write(tmp_path / "t", data))


def test_links_resolve_within(tmp_path: Path) -> None:
    data = archive(
        member("sys/out", kind=tarfile.SYMTYPE, target="../../../../../etc"),
        member("sys/loop", kind=tarfile.SYMTYPE, target="loop"),
        member("etc/passwd", b"mine"),
    )
    tree = read_archive(write(tmp_path / "t", data))
    assert tree.read("sys/out/passwd") == b"mine"
    with pytest.raises(OSError, match="Too many"):
        tree.read("sys/loop")


def test_hard_links_to_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hard link"):
        read_archive(write(tmp_path / "t", archive(member("a", kind=tarfile.LNKTYPE, target="b"))))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("left", [0.2, 0.5, 0.9])
def test_truncated(tmp_path: Path, compress: type[bytes], left: float) -> None:
    data = compress(archive(*(member(f"sys/{n}", bytes([n]) * 3000) for n in range(40))))
    cut = write(tmp_path / "t", data[: int(len(data) * left)])
    with pytest.raises(InputError):
        read_archive(cut)


def test_without_its_end_mark(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="end mark"):
        read_archive(write(tmp_path / "t", SOUND.rstrip(b"\0") + b"\0" * (-len(SOUND.rstrip(b"\0")) % 512)))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_bombs(tmp_path: Path, compress: type[bytes]) -> None:
    path = write(tmp_path / "t", compress(archive(member("sys/zero", bytes(20 << 20)))))
    assert path.stat().st_size < 1 << 17
    for limits in (ArchiveLimits(stream=1 << 20), ArchiveLimits(file_size=1 << 20), ArchiveLimits(content=1 << 20)):
        with pytest.raises(InputError):
            read_archive(path, limits=limits)


def test_limits(tmp_path: Path) -> None:
    path = write(tmp_path / "t", archive(*(member(f"sys/{n}/{'d/' * 10}x") for n in range(20))))
    with pytest.raises(InputError, match="more than 10 members"):
        read_archive(path, limits=ArchiveLimits(members=10))
    # Each name tells of eleven folders of its own.
    assert read_archive(path, limits=ArchiveLimits(members=20 * 12 + 1)).list("sys")
    with pytest.raises(InputError, match="more than 200 members"):
        read_archive(path, limits=ArchiveLimits(members=200))
    with pytest.raises(InputError, match="deep"):
        read_archive(path, limits=ArchiveLimits(depth=5))
    with pytest.raises(InputError, match="longer"):
        read_archive(path, limits=ArchiveLimits(name_length=10))


@pytest.mark.parametrize(("wrong", "taken"), [(0, True), (-256 * 2, True), (-256, False), (1, False)])
def test_checksums_of_signed_bytes(wrong: int, taken: bool) -> None:
    """Two bytes of the name are above 127: some programs counted each as 256 less."""
    header = bytearray(tarfile.TarInfo("sys/\xfc").tobuf(tarfile.USTAR_FORMAT, encoding="utf-8"))
    told = int(header[148:154], 8)
    header[148:154] = b"%06o" % (told + wrong)
    stream = io.BytesIO(bytes(header) + bytes(1024))
    if taken:
        assert [found.name for found in read_members(stream.read, file_size_at_most=1)] == ["sys/\xfc"]
    else:
        with pytest.raises(InputError, match="checksum"):
            list(read_members(stream.read, file_size_at_most=1))


def test_a_header_that_asks_for_too_much() -> None:
    info = tarfile.TarInfo("sys/huge")
    info.size = 1 << 60
    stream = io.BytesIO(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(InputError, match="file of"):
        list(read_members(stream.read, file_size_at_most=1 << 20))
    info.type = tarfile.XHDTYPE
    stream = io.BytesIO(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(InputError, match="extended header"):
        list(read_members(stream.read, file_size_at_most=1 << 20))


def test_records_of_extended_headers_that_nothing_heeds() -> None:
    """They are neither kept, however many, nor in the way of those that count."""

    def header(number: int) -> bytes:
        info = tarfile.TarInfo("x")
        records = b"".join(b"11 %06x=\n" % key for key in range(number << 12, (number + 1) << 12))
        info.type, info.size = tarfile.XHDTYPE, len(records)
        return info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)

    path = tarfile.TarInfo("x")
    path.type, path.size = tarfile.XHDTYPE, 17
    named = path.tobuf(tarfile.USTAR_FORMAT) + b"17 path=sys/long\n" + bytes(512 - 17)
    content = named + b"".join(map(header, range(64))) + tarfile.TarInfo("short").tobuf(tarfile.USTAR_FORMAT)
    stream = io.BytesIO(content + bytes(1024))
    tracemalloc.start()
    try:
        found = list(read_members(stream.read, file_size_at_most=1))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [member.name for member in found] == ["sys/long"]
    assert most < 1 << 20


def test_extended_headers_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.host.trees.tar._EXTENSIONS_AT_MOST", 1000)
    stream = io.BytesIO(archive(*(member(f"sys/{'n' * 200}{number}") for number in range(8))))
    with pytest.raises(InputError, match="extended headers"):
        list(read_members(stream.read, file_size_at_most=1))


def test_not_an_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder, archive or text"):
        opened_tree(write(tmp_path / "t", b"nonsense"))
    with pytest.raises(InputError, match="No such file"):
        opened_tree(tmp_path / "missing")
    with pytest.raises(InputError, match="damaged"):
        read_archive(write(tmp_path / "u", b"x" * 1024))


TEXT = b"01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GK104 [10de:1187] (rev a1)\n" * 40


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_text_is_read_as_the_text(tmp_path: Path, compress: type[bytes]) -> None:
    read = open_named(str(write(tmp_path / "t", compress(TEXT))))
    assert isinstance(read, Record)
    assert read.host is not None
    assert [str(address) for address in read.host.functions] == ["0000:01:00.0"]
    with pytest.raises(InputError, match="damaged or truncated"):
        open_named(str(write(tmp_path / "t", compress(TEXT)[:-9])))


def test_an_archive_in_a_pipe_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (SOUND, gzip.compress(SOUND)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        with pytest.raises(InputError, match="not read from a pipe"):
            open_named("-")


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=20))
def test_any_damage_is_an_input_error(patches: list[tuple[int, int]]) -> None:
    data = bytearray(SOUND)
    for offset, value in patches:
        data[offset] = value
    try:
        list(read_members(io.BytesIO(bytes(data)).read, file_size_at_most=1 << 20))
    except InputError:
        return


@given(st.binary(max_size=2048))
def test_any_bytes_are_an_input_error(data: bytes) -> None:
    try:
        list(read_members(io.BytesIO(data).read, file_size_at_most=1 << 20))
    except InputError:
        return


def place(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, data)


def test_a_host_packed_from_further_up(tmp_path: Path) -> None:
    folder = tmp_path / "ticket/attachments/host"
    place(folder / "sys/kernel/uevent_seqnum", b"7\n")
    (folder / "sys/class").symlink_to("/sys/kernel")
    archive = tmp_path / "ticket.tar"
    with tarfile.open(archive, "w") as packed:
        packed.add(tmp_path / "ticket", "ticket")
    for name in (tmp_path / "ticket", archive):
        tree = opened_tree(name)
        assert tree.name == str(name)
        assert tree.read("sys/class/uevent_seqnum") == b"7\n"
    place(tmp_path / "ticket/other/proc/cmdline", b"\n")
    with pytest.raises(InputError, match="holds 2 hosts: other, attachments/host"):
        opened_tree(tmp_path / "ticket")


def test_a_link_to_a_host_outside_is_none(tmp_path: Path) -> None:
    """A link that leads to a host within the record, and for the system to one outside: neither is taken."""
    outside, record = tmp_path / "a/b/c/outside", tmp_path / "record"
    place(outside / "sys/kernel/uevent_seqnum", b"7\n")
    place(Path(f"{record}{outside}/sys/kernel/uevent_seqnum"), b"8\n")
    (record / "host").symlink_to(outside)
    with pytest.raises(InputError, match="holds no sys/"):
        opened_tree(record)


def test_a_folder_without_a_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no sys/: it is no record"):
        opened_tree(tmp_path)
    for name in ("SOURCE.txt", "iommu_groups.txt", "lspci.txt"):
        write(tmp_path / name, b"GROUP 1 0000:00:01.0\n")
    with pytest.raises(InputError, match="holds no sys/, but texts") as caught:
        opened_tree(tmp_path)
    assert caught.value.hint == (
        f"name those of one machine: --host {tmp_path}/iommu_groups.txt --host {tmp_path}/lspci.txt"
    )
    (tmp_path / "sys").mkdir()
    assert opened_tree(tmp_path).list("sys") == ()


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_archives_are_told_apart_from_texts(tmp_path: Path, packing: int) -> None:
    path = tmp_path / "diagnostics.zip"
    with zipfile.ZipFile(path, "w", packing) as packed:
        for number in range(2):
            packed.writestr(f"host{number}/lspci.txt", "00:01.0 PCI bridge [0604]: X [8086:1901]\n")
    with pytest.raises(InputError, match="zip archives") as caught:
        open_named(str(path))
    assert "unpack" in caught.value.hint
