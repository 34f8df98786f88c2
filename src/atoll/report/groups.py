"""The kernel's IOMMU groups: what it claims, what its rules would make, and what the hardware says to that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atoll.fabric.domains import default_domain, is_amd_iommu, not_grouped_yet
from atoll.fabric.settings import DomainKind
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.isolation.groups import Prediction
from atoll.isolation.groups.comparison import Comparison, Difference, compare
from atoll.isolation.groups.late_acs import formed_before_acs
from atoll.isolation.groups.override_evidence import ignores_override, obeys_untold_override
from atoll.isolation.honesty import Disagreement, Honesty, Joined
from atoll.isolation.partition import closure
from atoll.pci.address import Address
from atoll.report.document import document
from atoll.report.function_words import driver_words
from atoll.report.lacking import EXCERPT, PRINT_TYPES, lacking
from atoll.report.layout import first_of, plural, wrap
from atoll.report.names import Names
from atoll.report.path import path_document, path_lines
from atoll.report.style import Style

__all__ = ["BEFORE_ACS", "IGNORED_OVERRIDE", "NOT_YET", "UNTOLD_OVERRIDE", "groups_document", "groups_lines"]

IGNORED_OVERRIDE = (
    "pcie_acs_override= is on the command line and this kernel does not obey it: its groups are those without it. Only "
    "a kernel with an out-of-tree patch does, and then groups say less than before of what is isolated."
)
UNTOLD_OVERRIDE = (
    "the kernel said at boot that it overrides ACS (pcie_acs_override=; the record does not show for whom): groups are "
    "what it claims, not what the hardware says. What is really isolated, atoll atoms tells."
)
NOT_YET = (
    "no driver is bound, and before Linux 6.15 a kernel that firmware tells of its IOMMU (SMMU, virtio) groups a "
    "function only when one binds: bind vfio-pci, and look again"
)
BEFORE_ACS = (
    "all as if ACS had come on after the groups formed: set since, or by a kernel that does so (before Linux 6.15, "
    'with commit c41e2fb67e26 "PCI: Enable ACS after configuring IOMMU for OF platforms"; reverted in 5.10.253, '
    "6.1.169, 6.6.135 and 6.12.83, and distributions follow). Another kernel regroups, or to remove what is below the "
    "ports and rescan."
)
_NAMED = 4


def _plain(groups: Iterable[Iterable[Address]]) -> list[list[str]]:
    return [[str(address) for address in group] for group in groups]


def groups_document(host: Host, prediction: Prediction, honesty: Honesty) -> dict[str, Any]:
    """Return the groups as programs get them; ``honesty`` is of the recorded groups, or else of the predicted."""
    comparison = compare(host, prediction)
    return document(
        "groups",
        host=host.name,
        recorded=None if comparison is None else _plain(comparison.recorded),
        predicted=_plain(sorted(tuple(sorted(group)) for group in prediction.groups)),
        undetermined=[str(address) for address, _ in prediction.undetermined],
        lies=[_disagreement(lie) for lie in honesty.lies],
        doubts=[_disagreement(doubt) for doubt in honesty.doubts],
        costs=[{"group": cost.group, "parts": _plain(cost.parts)} for cost in honesty.costs],
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
            }
            for d in comparison.differences
        ],
    )


def _disagreement(found: Disagreement) -> dict[str, Any]:
    return {
        "from": str(found.source),
        "to": None if found.target is None else str(found.target),
        "groups": list(found.groups),
        "answer": found.answer.word,
        "shared_identity": found.identity,
        "path": path_document(found.path),
        "pairs": None if found.target is None else found.joined.count(),
        "joined": _joined(found.joined),
    }


def _joined(joined: Joined) -> dict[str, Any]:
    """Return which groups one reason joins: each of "from" with each other of "to", but for those that stand apart."""
    return {
        "from": joined.sources,
        "to": joined.targets,
        "apart": [{"from": sources, "to": targets} for sources, targets in joined.apart],
    }


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
        return wrap(f"No PCI function in this record: {host.groups.reason}. For more give lspci -nnvvv, run as root.")
    else:
        numbered = [(f"Predicted group {place}", group, "") for place, group in enumerate(prediction.groups)]
        lines += wrap(
            f"Groups were not recorded ({host.groups.reason}); these are as the kernel's rules would form them."
        )
    for title, members, kind in numbered:
        lines += ["", style.bold(title) + (style.faint(f"  {kind}") if kind and kind != "unknown" else "")]
        for address in sorted(members):
            lines += _member_lines(host, address, prediction, names, style, verbose)
    lines += _in_none(host, style)
    if host.excerpt and numbered:
        lines += ["", *wrap(EXCERPT)]
    if isinstance(host.groups, Known) and not numbered:
        lines += ["", "None: no IOMMU is in use on this host. See: atoll doctor"]
    if comparison is not None:
        lines += ["", *_comparison_lines(host, comparison, prediction, style, verbose)]
    elif prediction.undetermined:
        lines += ["", *_undetermined(dict(prediction.undetermined), style, verbose)]
    return [*lines, *_findings(honesty, style, verbose), *_types_wanted(host, honesty)]


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
    lines = [mark + names.short_line(function, 96 - len(beside)) + beside]
    if verbose:
        lines += [line for reason in prediction.reasons.get(address, ()) for line in wrap(reason, first="        ")]
        lines += wrap(rests, first="        ? ") if rests else []
    return lines


def _in_none(host: Host, style: Style) -> list[str]:
    """Name the functions, ports aside, that the record shows in no group, and those that it shows in none it tells of.

    Nothing translates what the first send, AMD's IOMMU and its host bridge aside; of the others it does not say.
    """
    if not value_of(host.groups, True):
        return []
    ends = [function for function in host.functions.values() if not function.is_port]
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
    untold = [f.address for f in ends if isinstance(f.group, Unknown)] if isinstance(host.groups, Known) else []
    if untold:
        why = "the record shows them and does not tell their group; a whole list of groups would"
        lines += ["", *wrap(f"{first_of(untold, _NAMED)}: {why}", first=style.doubtful("Group unknown: "))]
    return lines


def _by_kind(found: Sequence[Disagreement]) -> list[Disagreement]:
    """Return the first of each way through, for readers who do not ask for all."""
    first: dict[object, Disagreement] = {}
    for one in found:
        path = one.path
        first.setdefault((one.identity, one.target is None, path[0].via if path else ""), one)
    return list(first.values())


def _findings(honesty: Honesty, style: Style, verbose: bool) -> list[str]:
    lines: list[str] = []
    for found, word, claim in (
        (honesty.lies, style.bad("Lies"), "told apart by the kernel, not by the hardware as it is set now"),
        (honesty.doubts, style.doubtful("Doubts"), "told apart by the kernel; the hardware may let them through"),
    ):
        if not found:
            continue
        lines += ["", f"{word}: {plural(len(found), 'way')} between groups {claim}"]
        told = found if verbose else _by_kind(found)
        may = "may " if found is honesty.doubts else ""
        for pair in told:
            verb = f"{may or 'can '}pass for" if pair.identity else f"{may}reach" if may else "reaches"
            target = "all that has an address" if pair.target is None else f"{pair.target} (group {pair.groups[1]})"
            lines += ["", *wrap(f"{pair.source} (group {pair.groups[0]}) {verb} {target}", first="    ")]
            lines += path_lines(pair.path, margin="      ")
            if pair.target is None and len(pair.joined.sources) > 1:
                lines.append(style.faint(f"      and {plural(len(pair.joined.sources) - 1, 'more group')} so"))
            more = pair.joined.count() - 1
            if more > 0:
                words = f"      and {plural(more, 'more pair')} of groups so; of any two: atoll explain A B"
                lines.append(style.faint(words))
        if len(found) > len(told):
            lines += ["", style.faint(f"    and {len(found) - len(told)} more in the same ways: atoll groups -v")]
    if honesty.costs:
        lines += ["", f"{style.bold('Costs')}: functions kept together that nothing joins"]
        for cost in honesty.costs:
            parts = " | ".join(" ".join(map(str, part)) for part in cost.parts)
            lines += wrap(parts, first=f"    group {cost.group}: ")
    return lines


def _types_wanted(host: Host, honesty: Honesty) -> list[str]:
    """What would settle doubts about memory at large, which a group's type decides."""
    unread = [group for group in value_of(host.groups, {}).values() if isinstance(group.type, Unknown)]
    if not unread or all(doubt.target is not None for doubt in honesty.doubts):
        return []
    count = plural(len(unread), "group")
    told = f"the types of {count} were not read; what {PRINT_TYPES} prints, in the same text, tells"
    return ["", *wrap(told, first="    ")]


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


def _undetermined(missing: Mapping[Address, str], style: Style, verbose: bool) -> list[str]:
    """Each fact that is lacking once; who asks for all gets each function with all that it rests on."""
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


def _comparison_lines(
    host: Host, comparison: Comparison, prediction: Prediction, style: Style, verbose: bool
) -> list[str]:
    claimed, unseen, found = comparison.recorded, comparison.unseen, comparison.differences
    missing = {address: reason for address, reason in prediction.undetermined if address not in unseen}
    lines: list[str] = []
    if unseen:
        some = _start_of(sorted(unseen), _NAMED)
        why = f"of {plural(len(unseen), 'function')} ({some}) the record shows the group and nothing more"
        lines += wrap(f"{why}: give lspci -nnvvv, run as root, beside it", first=style.doubtful("Not checked: "))
    if not (prediction.groups or claimed) or unseen.issuperset(address for group in claimed for address in group):
        return lines
    if not found:
        seen = [group for group in claimed if not unseen.issuperset(group)]
        sure = len([group for group in seen if missing.keys().isdisjoint(group)])
        if not missing:
            told = f"{style.good('As predicted:')} the kernel's rules give the same {plural(len(seen), 'group')}."
        elif sure:
            word = style.good("As predicted, where the record tells enough:")
            told = f"{word} the kernel's rules give {sure} of the {plural(len(seen), 'group')}."
        else:
            told = f"{style.doubtful('Not checked:')} of no group the record tells what the kernel's rules look at."
        lines += wrap(told)
    elif comparison.certain:
        lines.append(
            style.bad("Not as predicted") + style.faint(" (removed and rescanned, the kernel would regroup them)")
        )
    else:
        lines.append(style.doubtful("Prediction open") + style.faint(" where the record lacks what the rules look at"))
    lines += _regrouped(found)
    if formed_before_acs(host, [difference.function for difference in comparison.certain]):
        lines += wrap(BEFORE_ACS, first=style.doubtful("Why: "), rest="    ")
    if missing:
        lines += _undetermined(missing, style, verbose)
    if prediction.override:
        sure = value_of(host.overrides_acs, False)
        lines += wrap(
            "pcie_acs_override= on the command line shapes the groups"
            + (", which are fiction." if sure else ", as far as this kernel has the out-of-tree patch that obeys it."),
            first=style.doubtful("Override: "),
            rest="    ",
        )
    elif obeys_untold_override(host):
        lines += wrap(UNTOLD_OVERRIDE, first=style.bad("Override: "), rest="    ")
    elif ignores_override(host):
        lines += wrap(IGNORED_OVERRIDE, first=style.doubtful("Override: "), rest="    ")
    return lines
