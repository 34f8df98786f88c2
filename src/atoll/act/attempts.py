"""What is done for devices that are given back: attempted, remembered, and compared with what was before."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atoll.act import device
from atoll.act.before import Before
from atoll.act.failure import Failure
from atoll.act.outcome import Deed
from atoll.act.running import Running
from atoll.act.settings import Difference, differences
from atoll.act.site import Site
from atoll.errors import StepError
from atoll.pci.address import Address

__all__ = ["Attempts"]


@dataclass(slots=True, kw_only=True)
class Attempts:
    """One release being carried out: how each device was, what was done for it, and what is left."""

    site: Site
    work: Running
    was: Mapping[Address, Before]
    deeds: list[Deed] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    vanished: set[Address] = field(default_factory=set)
    """Devices that were pulled while this went on."""
    differences: list[Difference] = field(default_factory=list)
    """What stands otherwise than before once all is given back."""
    kept: set[int] = field(default_factory=set)
    """Entries, by number, of what is cut still once its device is given back."""
    failed: dict[Address, str] = field(default_factory=dict)
    """Devices for which the last of all could not be done, with why: it keeps nobody else from getting his."""

    def attempt(self, kind: str, address: Address, act: Callable[[], object], told: str, *, last: bool = False) -> None:
        """Do something for a device that is there still, and remember it. Raises StepError where that fails; what is
        the ``last`` for a device goes to ``failed`` instead, unless the kernel has not returned from it."""
        if address in self.vanished:
            return
        try:
            with self.work.machine.during(None, f"to give {address} back: {told}"):
                act()
        except (Failure, OSError) as error:
            # What this itself removed, to have it regrouped, is to be found again.
            if kind != "regroup" and not self.there(address):
                return
            said = f"{kind} of {address} failed: {error}"
            if not last or _hangs(error):
                raise self.half_way(*self.failed.values(), said) from error
            self.failed[address] = said
            return
        self.deeds.append(Deed(kind, address, told))

    def half_way(self, *said: str) -> StepError:
        """Return what is raised where something failed: sentences that tell what."""
        done = ", ".join(dict.fromkeys(f"{deed.kind} {deed.device}" for deed in self.deeds)) or "nothing"
        hint = "what was given back stays so; run atoll release again once the reason is gone"
        return StepError(f"{'; '.join(said)}. Done before: {done}", hint=hint)

    def there(self, address: Address) -> bool:
        """Whether a device is there still: one that was pulled meanwhile keeps nobody from getting the others back."""
        if address not in self.vanished and not device.present(self.site.machine, address):
            self.vanished.add(address)
            self.left.append(f"{address} has vanished meanwhile: it is not given back")
        return address not in self.vanished

    def compare(self, address: Address, why: str = "") -> None:
        """Tell what stands otherwise than before, now that a function is given back."""
        if address not in self.vanished:
            found = list(differences(self.site.machine, address, self.was[address].settings, why))
            self.differences += found
            self.left += map(str, found)

    def forget(self, address: Address) -> None:
        """Take what was owed for a device out of the journal, but for what is kept."""
        journal = self.work.journal
        mine = (entry for entry in journal.entries if entry.step.device == address)
        journal.forget(entry for entry in mine if entry.number not in self.kept)


def _hangs(error: Failure | OSError) -> bool:
    """Whether the kernel has not returned from a write: it may have the locks that the next one needs."""
    cause = error.__cause__ if isinstance(error, Failure) else error
    return isinstance(cause, OSError) and cause.errno == errno.ETIMEDOUT
