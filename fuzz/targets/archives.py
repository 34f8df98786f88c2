"""Archives of any make, and device tree blobs: nothing is unpacked, nothing grows beyond its limits."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from atoll.host import read_host
from atoll.host.trees.archive import ArchiveLimits, read_archive
from atoll.host.trees.dtb import read_blob
from fuzz.target import DATA, Target
from fuzz.targets.seeds import CAPTURES, capture_tree

__all__ = ["ARCHIVES", "tar_of"]

_LIMITS = ArchiveLimits(members=1000, file_size=1 << 20, content=4 << 20, stream=8 << 20)


def _archive(data: bytes) -> None:
    # A file without a name: nothing is left behind, whatever happens.
    descriptor = os.memfd_create("archive")
    try:
        os.write(descriptor, data)
        tree = read_archive(f"/proc/self/fd/{descriptor}", limits=_LIMITS, name="archive")
    finally:
        os.close(descriptor)
    for path in tree:
        assert not path.startswith("/"), path
        assert ".." not in path.split("/"), path
    read_host(tree)


def _blob(data: bytes) -> None:
    read_host(read_blob(data, name="blob"))


def tar_of(*members: tuple[str, bytes, bytes | str], kind: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar of members: a name, a type, and what it holds or leads to."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for name, what, content in members:
            member = tarfile.TarInfo(name)
            member.type = what
            if isinstance(content, str):
                member.linkname = content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _tars() -> Iterator[bytes]:
    long = "sys/devices/" + "/".join(["pci0000:00"] + ["0000:00:01.0"] * 12) + "/vendor"
    members = (
        ("sys/bus/pci/devices/0000:00:01.0", tarfile.SYMTYPE, "../../../devices/pci0000:00/0000:00:01.0"),
        ("sys/devices/pci0000:00/0000:00:01.0", tarfile.DIRTYPE, ""),
        ("sys/devices/pci0000:00/0000:00:01.0/vendor", tarfile.REGTYPE, b"0x8086\n"),
        ("sys/devices/pci0000:00/0000:00:01.0/device", tarfile.LNKTYPE, "sys/devices/pci0000:00/0000:00:01.0/vendor"),
        (long, tarfile.REGTYPE, b"0x8086\n"),
        ("sys/loop", tarfile.SYMTYPE, "loop"),
        ("dev/null", tarfile.CHRTYPE, b""),
    )
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        yield tar_of(*(members[:4] if kind == tarfile.USTAR_FORMAT else members), kind=kind)
    plain = tar_of(*members)
    yield gzip.compress(plain, mtime=0)
    yield lzma.compress(plain)
    yield gzip.compress(bytes(1 << 20), mtime=0)
    yield lzma.compress(bytes(1 << 20))
    tree = capture_tree(CAPTURES[0])
    files = [path for path in tree if path.endswith(("/config", "/class"))][:6]
    yield tar_of(*((path, tarfile.REGTYPE, tree.read(path)) for path in files))


def _blobs() -> Iterator[bytes]:
    if find_spec("libfdt") is None:
        return
    libfdt: Any = import_module("libfdt")
    made = libfdt.FdtSw()
    made.INC_SIZE = 4096
    made.finish_reservemap()
    with made.add_node(""):
        made.property_string("compatible", "ibm,powernv")
        with made.add_node("pciex@600c3c0000000"):
            made.property_u32("ibm,opal-phbid", 0)
            made.property_u32("phandle", 7)
            with made.add_node("pci@0"):
                made.property("ibm,npu", bytes(4))
                made.property("ibm,nvlink", b"\0\0\0\7")
    blob = made.as_fdt()
    blob.pack()
    yield bytes(blob.as_bytearray())
    yield (DATA / "power" / "op920.dtb").read_bytes()


ARCHIVES = (
    Target(
        "archive",
        _archive,
        _tars,
        (
            b"ustar\x00",
            b"ustar  \x00",
            b"\x1f\x8b",
            b"\xfd7zXZ\0",
            b"GNU.sparse.major=1\n",
            b"../",
            b"/etc/",
            b"\0" * 512,
        ),
        longest=1 << 15,
    ),
    Target(
        "device-tree",
        _blob,
        _blobs,
        (b"\xd0\x0d\xfe\xed", b"\0\0\0\1", b"\0\0\0\3", b"\0\0\0\x09", b"ibm,npu"),
        longest=1 << 17,
    ),
)
