"""What came of an attack on a simulated machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from atoll.pci.address import Address
from atoll.report.document import document
from atoll.report.layout import plural, wrap
from atoll.report.path import Hop, path_document, path_lines
from atoll.report.style import Style

__all__ = ["Attack", "Attempt", "attack_document", "attack_lines"]


class Attempt(Protocol):
    """One way that was tried."""

    @property
    def kind(self) -> str:
        """``read``, ``write``, ``translated-``, ``spoofed-``, ``nvlink-``, ``completion``, …"""

    @property
    def target(self) -> str:
        """What it was sent to."""

    @property
    def delivered(self) -> bool:
        """Whether it arrived at the victim, or at memory of the victim's owner."""

    @property
    def path(self) -> Sequence[Hop]: ...

    @property
    def stopped(self) -> str:
        """Why it did not arrive; empty where it did."""


class Attack(Protocol):
    """All that one function tried against another."""

    @property
    def reached(self) -> bool:
        """Whether any memory request was delivered."""

    @property
    def path(self) -> Sequence[Hop]: ...

    @property
    def attempts(self) -> Sequence[Attempt]: ...

    @property
    def completions_delivered(self) -> bool:
        """Whether a forged completion arrived."""


def attack_document(source: Address, target: Address, attack: Attack) -> dict[str, Any]:
    """Return the attack as programs get it."""
    return document(
        "twin attack",
        **{"from": str(source), "to": str(target)},
        reached=attack.reached,
        path=path_document(attack.path),
        completions_delivered=attack.completions_delivered,
        attempts=[
            {
                "kind": attempt.kind,
                "target": attempt.target,
                "delivered": attempt.delivered,
                "path": path_document(attempt.path),
                "stopped": attempt.stopped or None,
            }
            for attempt in attack.attempts
        ],
    )


def attack_lines(source: Address, target: Address, attack: Attack, *, style: Style, verbose: bool) -> list[str]:
    """Return the attack as people read it: the outcome, the first path that worked, and on request every attempt."""
    arrived = sum(attempt.delivered for attempt in attack.attempts)
    outcome = style.bad("reached") if attack.reached else style.good("not reached")
    lines = [
        f"{source} → {target}: {outcome}  "
        + style.faint(f"({plural(len(attack.attempts), 'attempt')}, {arrived} delivered)"),
        *path_lines(attack.path),
    ]
    if attack.completions_delivered and not attack.reached:
        lines.append("    a forged completion arrived: it carries data only where the target waits for one")
    if verbose:
        width = max((len(attempt.kind) for attempt in attack.attempts), default=0)
        for attempt in attack.attempts:
            outcome = "delivered" if attempt.delivered else f"stopped: {attempt.stopped}"
            lines += wrap(f"{attempt.target}: {outcome}", first=f"    {attempt.kind:<{width}}  ")
    return lines
