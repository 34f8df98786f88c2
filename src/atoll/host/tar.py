"""Members of a tar stream, read front to back with nothing believed that was not checked.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar
Format" (long names ``L`` and ``K``, base-256 numbers). Our own, because ``tarfile`` allocates what a header
asks for before it reads it, and guesses where a stream is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from atoll.errors import InputError

__all__ = ["Member", "MemberKind", "read_members"]

_BLOCK = 512
_EXTENSION_AT_MOST = 1 << 16


class MemberKind(StrEnum):
    """What a member is. Devices, pipes and volume labels are left out."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True, slots=True)
class Member:
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


def read_members(read: Callable[[int], bytes], *, file_size_at_most: int) -> Iterator[Member]:
    """Yield the members of a stream; ``read(size)`` returns exactly that many bytes unless the stream ends.

    Raises InputError for a damaged, truncated or too large stream.
    """
    special: dict[str, str] = {}
    while True:
        header = read(_BLOCK)
        if len(header) < _BLOCK:
            raise InputError("the archive is truncated: it has no end mark", hint="copy or record it again")
        if not header.strip(b"\0"):
            return
        _check(header)
        size = _number(header[124:136])
        kind = header[156:157]
        if kind in b"LKxg":
            if size > _EXTENSION_AT_MOST:
                raise InputError(f"the archive has an extended header of {size} bytes")
            payload = _payload(read, size)
            if kind == b"L":
                special["path"] = _text(payload)
            elif kind == b"K":
                special["linkpath"] = _text(payload)
            elif kind == b"x":
                special.update(_pax(payload))
            continue
        member, special = _Header(header, special), {}
        if "size" in member.special:
            size = _decimal(member.special["size"])
        if size > file_size_at_most:
            raise InputError(f"the archive has a file of {size} bytes: {member.name}")
        if kind == b"S" or any(key.startswith("GNU.sparse") for key in member.special):
            raise InputError(
                f"the archive has a sparse file, which is not supported: {member.name}",
                hint="make it without --sparse (-S), or copy the unpacked folder",
            )
        data = _payload(read, size)
        known = _KINDS.get(kind)
        if known is None:
            continue
        if known is MemberKind.FILE and member.name.endswith("/"):
            known = MemberKind.FOLDER
        yield Member(member.name, known, data if known is MemberKind.FILE else b"", member.target)


class _Header:
    def __init__(self, header: bytes, special: dict[str, str]) -> None:
        self.special = special
        name = _text(header[0:100])
        if header[257:263] == b"ustar\0":
            prefix = _text(header[345:500])
            name = f"{prefix}/{name}" if prefix else name
        self.name = special.get("path", name)
        self.target = special.get("linkpath", _text(header[157:257]))


def _check(header: bytes) -> None:
    told = _number(header[148:156])
    blank = header[:148] + b" " * 8 + header[156:]
    if told not in (sum(blank), sum(byte - 256 if byte > 127 else byte for byte in blank)):
        raise InputError("the archive is damaged: a header's checksum is wrong", hint="copy or record it again")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & (1 << (8 * len(field) - 1)) - 1
        if field[0] != 0x80:
            raise InputError("the archive is damaged: a header's number is negative or too large")
        return value
    digits = field.split(b"\0", 1)[0].strip()
    if not all(digit in b"01234567" for digit in digits):
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
    records: dict[str, str] = {}
    while payload:
        length, blank, _ = payload.partition(b" ")
        if not blank or len(length) > 6 or not length.isdigit() or not len(length) + 2 <= int(length) <= len(payload):
            raise InputError("the archive is damaged: an extended header's record has a wrong length")
        record, payload = payload[len(length) + 1 : int(length)], payload[int(length) :]
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
    return records
