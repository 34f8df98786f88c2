"""What the guest handed back, from the text of its serial line (``lab/guest/inside/labguest.py`` writes it)."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, field

from lab.errors import LabError

__all__ = ["HandedBack", "read_channel", "without_messages"]

_MARK = b"lab|"


@dataclass(slots=True)
class HandedBack:
    """The last answer, the files, and the exit code of the scenario (None: no end was reported)."""

    answer: dict[str, object] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None


def read_channel(text: bytes) -> HandedBack:
    """Everything that arrived whole; other lines are skipped, and so is a message that was cut off at the end.

    Raises `LabError` where a piece is damaged or missing in the middle.
    """
    found = HandedBack()
    pieces = _pieces(text)
    while pieces:
        header = json.loads(pieces.pop(0))
        size, data = header["size"], b""
        while len(data) < size and pieces:
            data += pieces.pop(0)
        if len(data) < size:
            break
        if len(data) > size or zlib.crc32(data) != header["crc"]:
            raise LabError(f"the guest's {header['kind']} {header['name']} arrived damaged", "Run it again.")
        content = zlib.decompress(data)
        if header["kind"] == "answer":
            found.answer = json.loads(content)
        elif header["kind"] == "file":
            found.files[header["name"]] = content
        else:
            found.exit_code = int(header["name"])
    return found


def without_messages(text: bytes) -> bytes:
    """What else was printed on the line."""
    return b"\n".join(line for line in text.split(b"\n") if _MARK not in line)


def _pieces(text: bytes) -> list[bytes]:
    lines = text.split(b"\n")
    # Without its newline the last line is one that was cut off.
    lines.pop()
    pieces: list[bytes] = []
    for line in lines:
        words = line[start:].split(b"|") if (start := line.find(_MARK)) >= 0 else []
        if len(words) != 4:
            continue
        try:
            number, checksum = int(words[1]), int(words[2], 16)
            piece = base64.b64decode(words[3].strip(), validate=True)
        except (ValueError, binascii.Error):
            continue
        if zlib.crc32(piece) != checksum:
            continue
        if number != len(pieces):
            raise LabError(
                f"the guest's message {len(pieces)} was lost on its serial line", "Run it again; see the console."
            )
        pieces.append(piece)
    return pieces
