"""Cutting links at a device's own end."""

from __future__ import annotations

from atoll.act.failure import Failure
from atoll.act.site import Site, State
from atoll.act.steps.access import access
from atoll.act.steps.registers import control_of, cut, cut_now, identify
from atoll.act.steps.resets import holding, restore_cut
from atoll.plan.step import Step

__all__ = ["CutLinks", "Verify"]


class CutLinks:
    """Program the control that cuts links at this end."""

    def before(self, site: Site, step: Step) -> State:
        """The chip is the one expected, and says which links are cut now."""
        control = control_of(site.host, step)
        with access(site.machine, step.device, step.holder) as lease:
            identify(lease, control)
            return {"cut": sorted(cut_now(lease, site.host, control))}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Identify, program, read back."""
        control = control_of(site.host, step)
        with access(site.machine, step.device, step.holder) as lease:
            cut(lease, site.host, control, step.links)

    def after(self, site: Site, step: Step, before: State) -> State:
        """All of the step's links read as cut."""
        return _verified(site, step)

    def undo(self, site: Site, step: Step, before: State) -> str:
        """A reset opens links, if one is permitted here; then what was cut before is cut again."""
        if step.device in site.leased:
            # Undoing the lease closes it, which resets the device.
            return ""
        return restore_cut(site, step.device, before["cut"], holding(site, step))


class Verify:
    """Read back what the device says now."""

    def before(self, site: Site, step: Step) -> State:
        """Nothing is asked for."""
        return {}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Nothing is done."""

    def after(self, site: Site, step: Step, before: State) -> State:
        """All of the step's links read as cut."""
        return _verified(site, step)

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Nothing to undo."""
        return ""


def _verified(site: Site, step: Step) -> State:
    control = control_of(site.host, step)
    with access(site.machine, step.device, step.holder) as lease:
        identify(lease, control)
        found = cut_now(lease, site.host, control)
    missing = frozenset(step.links) - found
    if missing:
        raise Failure(f"links {sorted(missing)} of {step.device} do not read as cut")
    return {"cut": sorted(found)}
