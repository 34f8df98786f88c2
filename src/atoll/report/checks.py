"""What on a host helps or hinders isolation: one check a question, each with the reason why it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from atoll.host.model import Host
from atoll.host.tree import Tree
from atoll.report.check import Check, Subject
from atoll.report.device_checks import DEVICE_CHECKS, STATE_CHECKS
from atoll.report.kernel_checks import KERNEL_CHECKS, lockdown
from atoll.report.log_checks import complaints

__all__ = ["CHECKS", "checks"]


def checks(host: Host, tree: Tree, *, privileged: bool | None) -> tuple[Check, ...]:
    """Return every check, in the order of :data:`CHECKS`. Nothing is written."""
    subject = Subject(host, tree, privileged)
    return tuple(check for function in CHECKS for check in function(subject))


CHECKS: tuple[Callable[[Subject], Iterator[Check]], ...] = (
    complaints,
    *KERNEL_CHECKS,
    *DEVICE_CHECKS,
    lockdown,
    *STATE_CHECKS,
)
