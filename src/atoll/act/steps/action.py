"""Actions: how one kind of step is checked, carried out, read back and undone."""

from __future__ import annotations

from typing import Protocol

from atoll.act.site import Site, State
from atoll.plan.step import Step

__all__ = ["Action"]


class Action(Protocol):
    """One kind of step. Every method raises Failure, or the OSError that the machine gives."""

    def before(self, site: Site, step: Step) -> State:
        """Check the precondition and return the state that the step will change. Changes nothing."""

    def do(self, site: Site, step: Step, before: State) -> None:
        """Carry the step out."""

    def after(self, site: Site, step: Step, before: State) -> State:
        """Read back what the step was to bring about, and return it."""

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Put back what was before, be the step done, half done or not begun; return what stays, or nothing."""
