"""What goes wrong between the two sides of vfio-user."""

from __future__ import annotations

from atoll.errors import AtollError

__all__ = ["ProtocolError"]


class ProtocolError(AtollError):
    """The other side sent what the protocol does not allow."""
