"""Text of a record as its readers want it: decoded, and without a terminal's colours."""

from __future__ import annotations

from atoll.errors import InputError

__all__ = ["MOST_BYTES", "clean"]

MOST_BYTES = 1 << 24
"""A record of links has some kilobytes; ``nvidia-smi -q -x`` has 30 kB for each GPU."""

_LONGEST = 4096
_ESCAPE = "\x1b["


def clean(data: bytes, *, name: str) -> str:
    """Return the text of a record. ``nvidia-smi topo -m`` underlines its heading with escape sequences.

    Raises InputError for more bytes than any such record has.
    """
    if len(data) > MOST_BYTES:
        raise InputError(f"{name}: {len(data)} bytes are too many for a record of links", hint="cut it")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = data.decode(encoding, errors="replace").replace("\u00a0", " ")
    return "\n".join(_without_escapes(line[:_LONGEST]) for line in text.splitlines())


def _without_escapes(line: str) -> str:
    first, *rest = line.split(_ESCAPE)
    return first + "".join(part.lstrip("0123456789;").removeprefix("m") for part in rest)
