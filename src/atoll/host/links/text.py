"""Text of a record as its readers want it: decoded, without a terminal's colours and what posts put around it."""

from __future__ import annotations

from atoll.errors import InputError
from atoll.host.records.pasted.lines import text_lines
from atoll.pci.address import Address

__all__ = ["MOST_BYTES", "address_in", "clean"]

MOST_BYTES = 1 << 24
"""A record of links has some kilobytes; ``nvidia-smi -q -x`` has 30 kB for each GPU."""


def clean(data: bytes, *, name: str) -> str:
    """Return the text of a record. ``nvidia-smi topo -m`` underlines its heading with escape sequences.

    Raises InputError for more bytes than any such record has.
    """
    if len(data) > MOST_BYTES:
        raise InputError(f"{name}: {len(data)} bytes are too many for a record of links", hint="cut it")
    return "\n".join(text_lines(data, name=name))


def address_in(word: str) -> Address | None:
    """Return the address that a word is; None where it is none."""
    try:
        return Address.parse(word)
    except ValueError:
        return None
