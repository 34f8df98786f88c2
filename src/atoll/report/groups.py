"""The kernel's IOMMU groups: what it claims, what its rules would make, and what the hardware says to that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from atoll.fabric.default_domain import default_domain, is_amd_iommu, not_grouped_yet
from atoll.fabric.settings import DomainKind
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.gap import GapKind
from atoll.host.groups import BEHIND_XEN, ONLY_ASKED, ONLY_DESCRIBED, on_xen
from atoll.host.model import Function, Host
from atoll.isolation.groups import Prediction
from atoll.isolation.groups.comparison import compare
from atoll.isolation.honesty import Honesty
from atoll.pci.address import Address
from atoll.report.document import document
from atoll.report.function_words import driver_words
from atoll.report.group_comparison import comparison_lines, override_lines, override_of, undetermined_lines
from atoll.report.honesty import honesty_document, honesty_lines
from atoll.report.lacking import EXCERPT, OF_NO_XEN
from atoll.report.layout import first_of, room, wrap

if TYPE_CHECKING:
    from atoll.report.names import Names
    from atoll.report.style import Style

__all__ = ["NOT_YET", "groups_document", "groups_lines"]

NOT_YET = (
    "no driver is bound, and before Linux 6.15 a kernel that firmware tells of its IOMMU (SMMU, virtio) groups a "
    "function only when one binds: bind vfio-pci, and look again"
)
_NAMED = 4


def _plain(groups: Iterable[Iterable[Address]]) -> list[list[str]]:
    return [[str(address) for address in group] for group in groups]


def groups_document(host: Host, prediction: Prediction, honesty: Honesty) -> dict[str, Any]:
    """Return the groups as programs get them; ``honesty`` is of the recorded groups, or else of the predicted."""
    comparison = compare(host, prediction)
    certain = {difference.function for difference in comparison.certain} if comparison is not None else set()
    return document(
        "groups",
        host=host.name,
        recorded=None if comparison is None else _plain(comparison.recorded),
        numbers=None if comparison is None else list(comparison.numbers),
        predicted=_plain(sorted(tuple(sorted(group)) for group in prediction.groups)),
        without_xen=on_xen(host),
        override=override_of(host, prediction),
        excerpt=host.excerpt,
        undetermined=[str(address) for address, _ in prediction.undetermined],
        **honesty_document(honesty),
        missing={str(address): reason for address, reason in prediction.undetermined},
        company={str(address): reason for address, reason in prediction.company.items()},
        reasons={str(address): list(reasons) for address, reasons in prediction.reasons.items()},
        differences=[]
        if comparison is None
        else [
            {
                "function": str(d.function),
                "recorded": [str(a) for a in d.recorded],
                "predicted": [str(a) for a in d.predicted],
                "certain": d.function in certain,
            }
            for d in comparison.differences
        ],
    )


def groups_lines(
    host: Host, prediction: Prediction, honesty: Honesty, *, names: Names, style: Style, verbose: bool = False
) -> list[str]:
    """Return the groups as people read them: the claim, then what does not fit it."""
    lines: list[str] = []
    comparison = compare(host, prediction)
    if isinstance(host.groups, Known):
        numbered: Sequence[tuple[str, tuple[Address, ...], str]] = [
            (f"IOMMU Group {number}", group.members, value_of(group.type, ""))
            for number, group in host.groups.value.items()
        ]
        lines.append(style.bold("Groups as this kernel formed them") + style.faint(" (its claim, made at discovery)"))
    elif not host.functions:
        asked = any(told in host.groups.reason for told in (ONLY_ASKED, ONLY_DESCRIBED))
        logged = host.iommu_units or isinstance(host.interrupt_remapping, Known) or asked
        more = "What its log tells: atoll doctor. " if host.complaints or logged else ""
        told = f"No PCI function in this record: {host.groups.reason}."
        return wrap(f"{told} {more}For more give lspci -nnvvv, run as root.")
    else:
        numbered = [(f"Predicted group {place}", group, "") for place, group in enumerate(prediction.groups)]
        told = f"Groups were not recorded ({host.groups.reason}); these are as the kernel's rules would form them."
        lines += wrap(f"{BEHIND_XEN[0].upper()}{BEHIND_XEN[1:]}. {OF_NO_XEN}" if on_xen(host) else told)
    lines += override_lines(host, prediction, style)
    for title, members, kind in numbered:
        lines += ["", style.bold(title) + (style.faint(f"  {kind}") if kind and kind != "unknown" else "")]
        for address in sorted(members):
            lines += _member_lines(host, address, prediction, names, style, verbose)
    lines += _without_group(host, style)
    for gap in host.gaps:
        if gap.kind is GapKind.MEMBERS:
            lines += ["", *wrap(f"{gap.what}: {gap.why}", first=style.doubtful("Not whole: "))]
    if host.excerpt and numbered:
        lines += ["", *wrap(EXCERPT)]
    if isinstance(host.groups, Known) and not numbered:
        lines += ["", "None: no IOMMU is in use on this host. See: atoll doctor"]
    if comparison is not None:
        lines += ["", *comparison_lines(host, comparison, prediction, style, verbose)]
    elif prediction.undetermined:
        lines += ["", *undetermined_lines(dict(prediction.undetermined), style, verbose)]
    return [*lines, *honesty_lines(host, honesty, style, verbose)]


def _member_lines(
    host: Host, address: Address, prediction: Prediction, names: Names, style: Style, verbose: bool
) -> list[str]:
    function = host.functions.get(address)
    if function is None:
        return [f"    {address} " + style.doubtful("has no record of its own")]
    driver = driver_words(function)
    rests = "" if isinstance(host.groups, Known) else prediction.open_about(address)
    mark = f"  {style.doubtful('?')} " if rests else "    "
    beside = f"  {driver}" if driver not in "-?" else ""
    lines = [mark + names.short_line(function, room() - 4 - len(beside)) + beside]
    if verbose:
        lines += [line for reason in prediction.reasons.get(address, ()) for line in wrap(reason, first="        ")]
        lines += wrap(rests, first="        ? ") if rests else []
    return lines


def _without_group(host: Host, style: Style) -> list[str]:
    """Name the functions, ports aside, that the record shows in no group, and those whose group it does not tell."""
    if not value_of(host.groups, True):
        return []
    ends = [function for function in host.functions.values() if not function.is_port]
    return [*_in_none(host, ends, style), *_untold(host, ends, style)]


def _in_none(host: Host, ends: Iterable[Function], style: Style) -> list[str]:
    """Name those in no group: nothing translates what they send, AMD's IOMMU and its host bridge aside."""
    outside = [function for function in ends if isinstance(function.group, Known) and function.group.value is None]
    own = [function for function in outside if default_domain(host, function).kind is DomainKind.BLOCKED]
    late = [function.address for function in outside if not_grouped_yet(host, function)]
    none = [function.address for function in outside if function not in own and function.address not in late]
    lines: list[str] = []
    if own:
        units = [function for function in own if is_amd_iommu(function)]
        what = "the IOMMU itself" if units else "the host bridge beside AMD's IOMMU"
        if 0 < len(units) < len(own):
            what = f"{what} and the host bridge beside it"
        why = f"{what}, for which the kernel maps nothing"
        named = first_of([function.address for function in own], _NAMED)
        lines += ["", *wrap(f"{named}: {why}", first=style.bold("In no group: "))]
    if late:
        lines += ["", *wrap(f"{first_of(late, _NAMED)}: {NOT_YET}", first=style.bold("In no group: "))]
    if none:
        why = "no IOMMU serves them, as far as the record tells, and VFIO gives to nobody what is in no group"
        lines += ["", *wrap(f"{first_of(none, _NAMED)}: {why}", first=style.bold("In no group: "))]
    return lines


def _untold(host: Host, ends: Iterable[Function], style: Style) -> list[str]:
    """Name those of whose group records disagree, or do not tell."""
    lines: list[str] = []
    reasons = {f.address: f.group.reason for f in ends if isinstance(f.group, Unknown)}
    disputed = {a: why.removeprefix(start) for a, why in reasons.items() if why.startswith(start := f"group of {a}: ")}
    for address, why in list(disputed.items())[:_NAMED]:
        lines += ["", *wrap(f"{address}: {why}", first=style.doubtful("Group disputed: "))]
    if len(disputed) > _NAMED:
        lines += [
            "",
            *wrap(f"and of {len(disputed) - _NAMED} more: atoll show -v", first=style.doubtful("Group disputed: ")),
        ]
    untold = [a for a in reasons if a not in disputed] if isinstance(host.groups, Known) else []
    if untold:
        why = "the record shows them and does not tell their group; a whole list of groups would"
        lines += ["", *wrap(f"{first_of(untold, _NAMED)}: {why}", first=style.doubtful("Group unknown: "))]
    return lines
