"""The address of a PCI function: domain, bus, device, function."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Address"]


class Address(NamedTuple):
    """A PCI function's address; compares and sorts numerically.

    ``domain`` is the segment (four hexadecimal digits or more: Intel VMD counts from ``10000``),
    ``bus`` 0 to 255, ``device`` 0 to 31, ``function`` 0 to 7. Functions reached by Alternative
    Routing-ID Interpretation are written the way Linux writes them, as device and function.
    """

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``DDDD:BB:DD.F``, or ``BB:DD.F`` in domain 0.

        Raises ValueError, with what was found, for anything else.
        """
        place, dot, function = text.strip().partition(".")
        parts = place.split(":")
        if not dot or len(parts) not in (2, 3):
            raise ValueError(f"not a PCI address (DDDD:BB:DD.F): {text!r}")
        if len(parts) == 2:
            parts.insert(0, "0000")
        widths = [(4, 8), (2, 2), (2, 2), (1, 1)]
        numbers = []
        for part, (least, most) in zip([*parts, function], widths, strict=True):
            if not least <= len(part) <= most or not all(c in "0123456789abcdefABCDEF" for c in part):
                raise ValueError(f"not a PCI address (DDDD:BB:DD.F): {text!r}")
            numbers.append(int(part, 16))
        address = cls(*numbers)
        if address.device > 31 or address.function > 7:
            raise ValueError(f"device above 1f or function above 7 in PCI address: {text!r}")
        return address

    @property
    def slot(self) -> tuple[int, int, int]:
        """Domain, bus and device: what the functions of one device share, but for those that ARI numbers."""
        return self[:3]

    @property
    def devfn(self) -> int:
        """Device and function as one byte, as in a requester id."""
        return self.device << 3 | self.function

    @property
    def requester_id(self) -> int:
        """The 16-bit requester id: bus, device, function. Unique within a domain only."""
        return self.bus << 8 | self.device << 3 | self.function

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function:x}"
