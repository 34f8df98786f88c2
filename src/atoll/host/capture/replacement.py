"""What identifiers are replaced by: the same by the same, and not to be undone.

A replacement is a hash keyed with a secret that is thrown away, so that captures of two machines, or two captures
of one, cannot be joined by it.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b

__all__ = ["Kind", "Replacements"]


class Kind(StrEnum):
    """What is replaced."""

    DEVICE_SERIAL = "device serial number"
    SERIAL = "serial number"
    UUID = "UUID"
    MAC = "MAC address"
    DISK = "disk identifier"
    HOST_NAME = "host name"
    USER = "user name"
    IP = "IP address"
    BOOT_PARAMETER = "boot parameter"
    MOUNT = "mount without a device"


_WITHOUT = dict.fromkeys(map(ord, ":-_."))


class Replacements:
    """Replaces values. ``counts`` holds, by kind, in how many places."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.counts: dict[Kind, int] = {}
        self._values: dict[Kind, set[str]] = {}

    def distinct(self, kind: Kind) -> int:
        """Return how many different values of a kind were replaced."""
        return len(self._values.get(kind, ()))

    def pairs(self, found: str) -> str:
        """Replace a MAC address or a longer number in pairs or fours of digits, its form kept."""
        bare = found.translate(_WITHOUT)
        new = self.mac(bare) if len(bare) == 12 else self.digits(Kind.DEVICE_SERIAL, bare)
        return found if bare == new else _like(found, new)

    def mac(self, digits: str) -> str:
        """Replace the twelve digits of a MAC address, not those of none and of all."""
        if not digits.strip("0") or not digits.lower().strip("f"):
            return digits
        # Locally administered, so that nobody takes it for a maker's (IEEE 802, bit 1 of the first byte).
        return "02" + self.digits(Kind.MAC, digits)[2:]

    def hex(self, kind: Kind, found: str) -> str:
        """Replace hexadecimal digits, what parts them and case kept."""
        bare = found.translate(_WITHOUT)
        return _like(found, self.digits(kind, bare)) if bare.strip("0") else found

    def digits(self, kind: Kind, value: str) -> str:
        """Return as many hexadecimal digits; decimal ones for a serial number of decimal ones."""
        self.count(kind, value.lower())
        digest = self._digest(kind, value.lower())
        if kind is Kind.SERIAL:
            return str(int(digest, 16))[: len(value)].zfill(len(value))
        return digest[: len(value)]

    def word(self, kind: Kind, value: str, word: str) -> str:
        """Replace a name: ``word`` and some digits that stand for it."""
        self.count(kind, value)
        return f"{word}-{self._digest(kind, value)[:10]}"

    def _digest(self, kind: Kind, value: str) -> str:
        return blake2b(
            value.encode("utf-8", "surrogateescape"), key=self._secret, person=kind.encode()[:16]
        ).hexdigest()

    def count(self, kind: Kind, value: str) -> None:
        """Note that a value is replaced, or left out."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._values.setdefault(kind, set()).add(value)

    def ip(self, word: str) -> str:
        """Replace an IP address in hexadecimal digits, not that of none."""
        return self.digits(Kind.IP, word) if word.strip("0 ") else word


def _like(found: str, digits: str) -> str:
    """Return digits in the form of others."""
    left = iter(digits)
    new = "".join(character if ord(character) in _WITHOUT else next(left) for character in found)
    return new.upper() if found.isupper() else new
