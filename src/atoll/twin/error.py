"""What can be wrong with a twin: its name, its kernel, its document."""

from __future__ import annotations

from atoll.errors import InputError

__all__ = ["TwinError"]


class TwinError(InputError):
    """A twin that does not exist, or a document that is not one."""
