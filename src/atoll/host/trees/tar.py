"""Members of a tar stream, read front to back with nothing believed that was not checked.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar
Format" (long names ``L`` and ``K``, base-256 numbers). Our own, because ``tarfile`` allocates what a header
asks for before it reads it, and guesses where a stream is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from atoll.errors import InputError

__all__ = ["Member", "MemberKind", "read_members"]

_BLOCK = 512
_EXTENSION_AT_MOST = 1 << 16
_EXTENSIONS_AT_MOST = 256 << 20
"""Bytes of all extended headers: a hundred for each of more members than are believed."""
_HEEDED = frozenset((b"path", b"linkpath", b"size"))
_SPARSE = "GNU.sparse"
"""How all keys begin that tell of a sparse file."""


class MemberKind(StrEnum):
    """What a member is. Devices, pipes and volume labels are left out."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


class Member(NamedTuple):
    """One member: the name as written, the data of a file, the target of a link."""

    name: str
    kind: MemberKind
    data: bytes = b""
    target: str = ""


_KINDS = {
    b"0": MemberKind.FILE,
    b"\0": MemberKind.FILE,
    b"7": MemberKind.FILE,
    b"1": MemberKind.HARDLINK,
    b"2": MemberKind.SYMLINK,
    b"5": MemberKind.FOLDER,
}
_EXTENSIONS = {b"L": "path", b"K": "linkpath", b"x": "", b"g": ""}
"""Members that tell of others: a long name, a long target, and (with keys of their own) pax headers."""


def read_members(read: Callable[[int], bytes], *, file_size_at_most: int) -> Iterator[Member]:
    """Yield the members of a stream; ``read(size)`` returns exactly that many bytes unless the stream ends.

    Raises InputError for a damaged, truncated or too large stream.
    """
    special: dict[str, str] = {}
    told = 0
    while (header := _header(read)) is not None:
        kind, size = header[156:157], _number(header[124:136])
        if kind in _EXTENSIONS:
            told += size
            if told > _EXTENSIONS_AT_MOST:
                raise InputError(f"the archive has more than {_EXTENSIONS_AT_MOST} bytes of extended headers")
            special |= _extension(kind, size, read)
            continue
        name, target = _name_and_target(header, special)
        if "size" in special:
            size = _decimal(special["size"])
        if size > file_size_at_most:
            raise InputError(f"the archive has a file of {size} bytes: {name}")
        if kind == b"S" or _SPARSE in special:
            raise InputError(
                f"the archive has a sparse file, which is not supported: {name}",
                hint="make it without --sparse (-S), or copy the unpacked folder",
            )
        special = {}
        data = _payload(read, size)
        known = _KINDS.get(kind)
        if known is MemberKind.FILE and name.endswith("/"):
            known = MemberKind.FOLDER
        if known is not None:
            yield Member(name, known, data if known is MemberKind.FILE else b"", target)


def _header(read: Callable[[int], bytes]) -> bytes | None:
    """Read the next header; None at the end mark."""
    header = read(_BLOCK)
    if len(header) < _BLOCK:
        raise InputError("the archive is truncated: it has no end mark", hint="copy or record it again")
    if not header.strip(b"\0"):
        return None
    _check(header)
    return header


def _extension(kind: bytes, size: int, read: Callable[[int], bytes]) -> dict[str, str]:
    """Read what is said about the next member, by the keys of pax; what is said about all (``g``) is passed over."""
    if size > _EXTENSION_AT_MOST:
        raise InputError(f"the archive has an extended header of {size} bytes")
    payload = _payload(read, size)
    if kind == b"x":
        return _pax(payload)
    return {_EXTENSIONS[kind]: _text(payload)} if _EXTENSIONS[kind] else {}


def _name_and_target(header: bytes, special: dict[str, str]) -> tuple[str, str]:
    name = _text(header[0:100])
    if header[257:263] == b"ustar\0":
        prefix = _text(header[345:500])
        name = f"{prefix}/{name}" if prefix else name
    return special.get("path", name), special.get("linkpath", _text(header[157:257]))


def _check(header: bytes) -> None:
    told = _number(header[148:156])
    blank = header[:148] + b" " * 8 + header[156:]
    found = sum(blank)
    # Some programs added the bytes up as signed ones.
    if told != found and told != found - 256 * sum(byte > 127 for byte in blank):
        raise InputError("the archive is damaged: a header's checksum is wrong", hint="copy or record it again")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & (1 << (8 * len(field) - 1)) - 1
        if field[0] != 0x80:
            raise InputError("the archive is damaged: a header's number is negative or too large")
        return value
    digits = field.split(b"\0", 1)[0].strip()
    if digits.strip(b"01234567"):
        raise InputError("the archive is damaged: a header's number is not octal")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise InputError("the archive is damaged: an extended header's size is no number")
    return int(text)


def _payload(read: Callable[[int], bytes], size: int) -> bytes:
    padded = (size + _BLOCK - 1) // _BLOCK * _BLOCK
    data = read(padded)
    if len(data) < padded:
        raise InputError("the archive is truncated inside a member", hint="copy or record it again")
    return data[:size]


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax(payload: bytes) -> dict[str, str]:
    """Return the records of a header that are heeded: others, of any number, are passed over."""
    records: dict[str, str] = {}
    at = 0
    while at < len(payload):
        blank = payload.find(b" ", at, at + 7)
        length = payload[at : max(at, blank)]
        if not length.isdigit() or not len(length) + 2 <= int(length) <= len(payload) - at:
            raise InputError("the archive is damaged: an extended header's record has a wrong length")
        key, _, value = payload[blank + 1 : at + int(length)].removesuffix(b"\n").partition(b"=")
        at += int(length)
        if key in _HEEDED:
            records[key.decode()] = value.decode("utf-8", "surrogateescape")
        elif key.startswith(b"GNU.sparse"):
            records[_SPARSE] = ""
    return records
