"""The recorded groups beside those that the kernel's rules would form: what differs, what was not checked, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.contacts.partition import closure
from atoll.isolation.groups import Prediction
from atoll.isolation.groups.comparison import Comparison, Difference
from atoll.isolation.groups.late_acs import formed_before_acs
from atoll.isolation.groups.override_evidence import ignores_override, obeys_untold_override
from atoll.pci.address import Address
from atoll.report.lacking import lacking
from atoll.report.layout import plural, wrap

if TYPE_CHECKING:
    from atoll.report.style import Style

__all__ = [
    "BEFORE_ACS",
    "IGNORED_OVERRIDE",
    "UNTOLD_OVERRIDE",
    "Override",
    "comparison_lines",
    "override_lines",
    "override_of",
    "undetermined_lines",
]

IGNORED_OVERRIDE = (
    "pcie_acs_override= is on the command line and this kernel does not obey it: its groups are those without it. Only "
    "a kernel with an out-of-tree patch does, and then groups say less than before of what is isolated."
)
UNTOLD_OVERRIDE = (
    "the kernel said at boot that it overrides ACS (pcie_acs_override=; the record does not show for whom): groups are "
    "what it claims, not what the hardware says. What is really isolated, atoll atoms tells."
)
BEFORE_ACS = (
    "all as if ACS had come on after the groups formed: set since, or by a kernel that does so (before Linux 6.15, "
    'with commit c41e2fb67e26 "PCI: Enable ACS after configuring IOMMU for OF platforms"; reverted in 5.10.253, '
    "6.1.169, 6.6.135 and 6.12.83, and distributions follow). Another kernel regroups, or to remove what is below the "
    "ports and rescan."
)
_NAMED = 4


def comparison_lines(
    host: Host, comparison: Comparison, prediction: Prediction, style: Style, verbose: bool
) -> list[str]:
    """Return what a prediction says to the recorded groups."""
    claimed, unseen = comparison.recorded, comparison.unseen
    lines: list[str] = []
    if unseen:
        some = _start_of(sorted(unseen), _NAMED)
        why = f"of {plural(len(unseen), 'function')} ({some}) the record shows the group and nothing more"
        lines += wrap(f"{why}: give lspci -nnvvv, run as root, beside it", first=style.doubtful("Not checked: "))
    if not (prediction.groups or claimed) or unseen.issuperset(address for group in claimed for address in group):
        return lines
    missing = {address: reason for address, reason in prediction.undetermined if address not in unseen}
    lines += _verdict(comparison, missing, style)
    lines += _regrouped(comparison.differences)
    if formed_before_acs(host, [difference.function for difference in comparison.certain]):
        lines += wrap(BEFORE_ACS, first=style.doubtful("Why: "), rest="    ")
    if missing:
        lines += undetermined_lines(missing, style, verbose)
    return lines


def _verdict(comparison: Comparison, missing: Mapping[Address, str], style: Style) -> list[str]:
    """Say whether the groups are as predicted; ``missing``: functions for which a fact is lacking."""
    if comparison.certain:
        why = style.faint(" (removed and rescanned, the kernel would regroup them)")
        return [style.bad("Not as predicted") + why]
    if comparison.differences:
        return [style.doubtful("Prediction open") + style.faint(" where the record lacks what the rules look at")]
    seen = [group for group in comparison.recorded if not comparison.unseen.issuperset(group)]
    sure = len([group for group in seen if missing.keys().isdisjoint(group)])
    if not missing:
        told = f"{style.good('As predicted:')} the kernel's rules give the same {plural(len(seen), 'group')}."
    elif sure:
        word = style.good("As predicted, where the record tells enough:")
        told = f"{word} the kernel's rules give {sure} of the {plural(len(seen), 'group')}."
    else:
        told = f"{style.doubtful('Not checked:')} of no group the record tells what the kernel's rules look at."
    return wrap(told)


def _regrouped(found: Sequence[Difference]) -> list[str]:
    """What is otherwise than predicted, each set of functions once that the two part differently."""
    lines: list[str] = []
    for alike in _entangled(found):
        for word, sides in (
            ("recorded", [(d.function, d.recorded) for d in alike]),
            ("predicted", [(d.function, d.predicted) for d in alike]),
        ):
            parts = [" ".join(map(str, group)) for group in dict.fromkeys(group for _, group in sides if group)]
            if nowhere := [str(address) for address, group in sides if not group]:
                parts.append((" ".join(nowhere) + " " if parts or word == "predicted" else "") + "in no group")
            lines += wrap(" | ".join(parts), first=f"    {word:<11}")
    return lines


def _entangled(found: Sequence[Difference]) -> list[list[Difference]]:
    """The differences about functions that a group of either side has together, in order of the first of each."""
    pairs = [(one.function, other) for one in found for other in (one.function, *one.recorded, *one.predicted)]
    place = closure((address for pair in pairs for address in pair), pairs).of()
    sets: dict[int, list[Difference]] = {}
    for one in found:
        sets.setdefault(place[one.function], []).append(one)
    return list(sets.values())


def _start_of(addresses: Sequence[object], most: int) -> str:
    return " ".join(map(str, addresses[:most])) + (" …" if len(addresses) > most else "")


def undetermined_lines(missing: Mapping[Address, str], style: Style, verbose: bool) -> list[str]:
    """Return each fact that is lacking once; who asks for all gets each function with all that it rests on."""
    if not verbose:
        some = _start_of(list(missing), _NAMED)
        told = f"{plural(len(missing), 'function')} ({some}), for want of these facts"
        lines = wrap(told, first=style.doubtful("Undetermined: "), rest="  ")
        return lines + [line for fact in lacking(missing.values()) for line in wrap(fact, first="    ", rest="      ")]
    lines = [style.doubtful("Undetermined:") + f" {plural(len(missing), 'function')}, for want of these facts"]
    by_reason: dict[str, list[str]] = {}
    for address, reason in missing.items():
        by_reason.setdefault(reason, []).append(str(address))
    for reason, addresses in by_reason.items():
        lines += wrap(f"{_start_of(addresses, 4)}: {reason}", first="    ", rest="      ")
    return lines


class Override(StrEnum):
    """What ``pcie_acs_override=`` has to do with a host's groups."""

    OBEYED = "obeyed"
    """The kernel obeys it: groups are fiction."""
    PERHAPS = "perhaps"
    """It is on the command line, and whether this kernel has the patch that obeys it does not show."""
    UNTOLD = "untold"
    """The kernel says that it obeys it, and for which devices is not shown."""
    IGNORED = "ignored"
    """It is on the command line, and the groups are those of a kernel without the patch."""


def override_of(host: Host, prediction: Prediction) -> Override | None:
    """Return what the parameter makes of the groups, None where it is not there."""
    if prediction.override:
        return Override.OBEYED if value_of(host.overrides_acs, False) else Override.PERHAPS
    if obeys_untold_override(host):
        return Override.UNTOLD
    return Override.IGNORED if ignores_override(host) else None


def override_lines(host: Host, prediction: Prediction, style: Style) -> list[str]:
    """Say what ``pcie_acs_override=`` makes of the groups: what is fiction is to be known before it is read."""
    told = "pcie_acs_override= on the command line shapes the groups"
    match override_of(host, prediction):
        case Override.OBEYED:
            return wrap(f"{told}, which are fiction.", first=style.bad("Override: "), rest="    ")
        case Override.PERHAPS:
            perhaps = f"{told}, as far as this kernel has the out-of-tree patch that obeys it."
            return wrap(perhaps, first=style.doubtful("Override: "), rest="    ")
        case Override.UNTOLD:
            return wrap(UNTOLD_OVERRIDE, first=style.bad("Override: "), rest="    ")
        case Override.IGNORED:
            return wrap(IGNORED_OVERRIDE, first=style.doubtful("Override: "), rest="    ")
    return []
