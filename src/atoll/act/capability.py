"""What a machine must be capable of, and the refusal where it is not."""

from __future__ import annotations

from collections.abc import Iterable

from atoll.act.machine import Explaining, Machine
from atoll.errors import RefusedError

__all__ = ["require"]


def require(machine: Machine, needed: Iterable[str]) -> None:
    """Raise RefusedError where a machine is not capable of something, with the reason as far as it tells one."""
    missing = sorted(set(needed) - machine.capabilities)
    if not missing:
        return
    if isinstance(machine, Explaining):
        reason, hint = machine.lacking(missing[0])
        raise RefusedError(f"{machine.name} cannot be changed in this way: {reason}", hint=hint)
    hint = f"it can: {', '.join(sorted(machine.capabilities)) or 'nothing'}"
    raise RefusedError(f"{machine.name} cannot be changed in this way: {', '.join(missing)}", hint=hint)
