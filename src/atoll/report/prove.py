"""A statement about clusters: proven or not, as handed over, and what would undo it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from atoll.controls.registry import link_control
from atoll.events.event import Event
from atoll.fabric.topology import Topology
from atoll.host.asleep import asleep
from atoll.host.fact import Known
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters, Handover
from atoll.isolation.contention import contention
from atoll.isolation.moment import Statement
from atoll.isolation.proof import Proof, Verdict, Violation
from atoll.isolation.resilience import Weakness
from atoll.report.contention import contention_document, contention_lines
from atoll.report.document import document
from atoll.report.findings import verdict_words, violation_document, violation_lines
from atoll.report.layout import columns, plural, wrap
from atoll.report.style import Style

__all__ = [
    "assumptions_document",
    "proof_lines",
    "prove_document",
    "prove_lines",
    "resilience_lines",
    "resting_lines",
    "survival_lines",
]

_SHOWN = 4
"""How many violations are told with their paths, unless all are asked for."""


def prove_document(host: Host, clusters: Clusters, statement: Statement) -> dict[str, Any]:
    """Return the statement as programs get it."""
    proof, over = statement.proof, statement.handed_over
    return document(
        "prove",
        host=host.name,
        moment=statement.moment,
        verdict=statement.verdict.value,
        clusters={
            cluster.name: {
                "functions": [str(address) for address in cluster.functions],
                "handover": cluster.handover.value,
            }
            for cluster in clusters.named
        },
        others={
            name: [str(address) for address, whose in clusters.tenant().items() if whose == name]
            for name in dict.fromkeys(cluster.name for cluster in clusters.others)
        },
        checked={"pairs": proof.pairs, "edges": proof.edges},
        violations=[violation_document(violation) for violation in proof.violations],
        unknown=[violation_document(violation) for violation in proof.unknown],
        reasons=list(proof.reasons),
        assumptions=assumptions_document(proof),
        handed_over={
            "verdict": over.verdict.value,
            "violations": [violation_document(violation) for violation in over.violations],
            "unknown": [violation_document(violation) for violation in over.unknown],
            "assumptions": assumptions_document(over),
        },
        premises={"interrupt_remapping": _remapping(host)},
        contention=contention_document(contention(Topology(host), clusters.owner())),
        resilience={t.value: None if w is None else len(w) for t, w in statement.resilience.items()},
        weakest={t.value: _events(w) for t, w in statement.resilience.items()},
        unsurvived=[trigger.value for trigger in statement.unsurvived],
        unproven={t.value: _events(w) for t, w in statement.unproven.items()},
        untold=[trigger.value for trigger in statement.untold],
    )


def _remapping(host: Host) -> dict[str, Any]:
    """A premise of every proof: whether a device can only raise the interrupts that it was given, and who says so."""
    fact = host.interrupt_remapping
    if isinstance(fact, Known):
        return {"on": fact.value, "because": fact.source or "so recorded"}
    return {"on": None, "because": fact.reason}


def _events(weakness: Weakness | None) -> list[dict[str, Any]] | None:
    if weakness is None:
        return None
    return [
        {
            "kind": event.kind.value,
            "at": None if event.at is None else str(event.at),
            "scope": [str(address) for address in event.scope],
        }
        for event in weakness
    ]


def prove_lines(
    host: Host, clusters: Clusters, statement: Statement, *, style: Style, verbose: bool = False
) -> list[str]:
    """Return the statement as people read it: the verdict first, then what it rests on and how long it lasts."""
    proof, over = statement.proof, statement.handed_over
    who = ", ".join(f"{cluster.name} ({len(cluster.functions)})" for cluster in clusters.named)
    lines = wrap(
        f"{verdict_words(statement.verdict, style)} {statement.moment}: {who} on {host.name}, "
        f"{plural(proof.pairs, 'pair')} and {plural(proof.edges, 'edge')} checked",
    )
    lines += survival_lines(statement)
    lines += _others_lines(clusters)
    lines += proof_lines(proof, style, verbose=verbose)
    if proof.verdict is Verdict.UNKNOWN and (remedies := _asleep_lines(host, clusters)):
        lines += ["", *remedies]
    if proof.verdict is Verdict.UNKNOWN and host.gaps:
        told = "What was not read decides. What to record: atoll doctor; beside a text: sudo lspci -nnvvv, and "
        lines += ["", *wrap(f"{told}find /sys/kernel/iommu_groups/ -type l", first="    ")]
    lines += ["", f"{style.bold('Handed over')} ({_handovers(clusters)}): {verdict_words(over.verdict, style)}"]
    new = _only_there(proof, over)
    if over.verdict is not Verdict.PROVEN and new:
        lines += _witnesses(new, style, verbose=verbose)
    elif over.verdict is not Verdict.PROVEN:
        lines.append("    as now: the hand-over closes some of it, and adds nothing")
    lines += ["", *resilience_lines(statement, style)]
    lines += contention_lines(contention(Topology(host), clusters.owner()), style)
    remapping = _remapping(host)
    if remapping["on"]:
        lines += ["", style.bold("Read"), *wrap(f"interrupts are remapped: {remapping['because']}", first="    ")]
    return lines + _assumption_lines(statement, style)


def assumptions_document(proof: Proof) -> list[dict[str, str]]:
    """Return what a proof rests on as programs get it."""
    return [{"id": assumption.id, "text": assumption.text} for assumption in proof.assumptions]


def _assumption_lines(statement: Statement, style: Style) -> list[str]:
    now, then = statement.proof.assumptions, statement.once_handed_over
    if not (now or then):
        return []
    lines = ["", style.bold("Assumed") + style.faint(" (taken as true, not read)")]
    width = max(len(assumption.id) for assumption in (*now, *then))
    for assumption in now:
        lines += wrap(assumption.text, first=f"    {assumption.id:<{width}}  ")
    for assumption in then:
        lines += wrap(f"once handed over: {assumption.text}", first=f"    {assumption.id:<{width}}  ")
    return lines


def resting_lines(ids: Sequence[str]) -> list[str]:
    """Return the ids of what a statement rests on, where there is no room for the words."""
    return wrap(f"taken as true, and told by atoll prove: {', '.join(ids)}", first="  ") if ids else []


def survival_lines(statement: Statement) -> list[str]:
    """Return what the file asks it to survive and it does not, or may not: that alone can make the verdict."""
    lines: list[str] = []
    for triggers, word in ((statement.unsurvived, "and it does not"), (statement.untold, "which is not known")):
        for trigger in triggers:
            asked = statement.asked.get(trigger)
            lines += wrap(f"the file asks it to survive {asked} of the {trigger}'s events, {word}", first="  ")
    return lines


def _others_lines(clusters: Clusters) -> list[str]:
    """Return who else has devices: not the host, and not trusted with what the file names."""
    told = (f"{a} ({cluster.name})" for cluster in clusters.others for a in cluster.functions)
    some = list(itertools.islice(told, _SHOWN))
    more = sum(len(cluster.functions) for cluster in clusters.others) - len(some)
    listed = ", ".join(some) + (f" and {more} more" if more else "")
    return wrap(f"not trusted either, as others have it: {listed}", first="  ") if some else []


def _handovers(clusters: Clusters) -> str:
    words = {
        Handover.VFIO: "stock vfio-pci",
        Handover.HELD: "held",
        Handover.BROKER: "broker",
        Handover.KERNEL: "kernel driver",
    }
    return ", ".join(f"{cluster.name}: {words[cluster.handover]}" for cluster in clusters.named)


def _only_there(proof: Proof, over: Proof) -> tuple[Violation, ...]:
    """Return what is wrong only once handed over."""
    known = {(v.source, v.target, v.breach) for v in (*proof.violations, *proof.unknown)}
    return tuple(v for v in (*over.violations, *over.unknown) if (v.source, v.target, v.breach) not in known)


def proof_lines(proof: Proof, style: Style, *, verbose: bool = False) -> list[str]:
    """Return what is wrong, what is open, and why a check says nothing."""
    lines: list[str] = []
    for word, found in (("Violations", proof.violations), ("Open", proof.unknown)):
        if found:
            paint = style.bad if found is proof.violations else style.doubtful
            lines += ["", f"{paint(word)}: {plural(len(found), 'pair')}", *_witnesses(found, style, verbose=verbose)]
    for reason in proof.reasons:
        lines += ["", *wrap(reason, first="    ")]
    return lines


def _asleep_lines(host: Host, clusters: Clusters) -> list[str]:
    """Return what to do about devices whose registers are not read because nobody has them open."""
    found: dict[str, list[str]] = {}
    for cluster in clusters.named:
        for address in cluster.functions:
            function = host.functions[address]
            if link_control(function) is not None and (why := asleep(function)):
                found.setdefault(why, []).append(str(address))
    return [
        line
        for why, addresses in found.items()
        for line in wrap(
            f"{', '.join(addresses)}: {why}, as vfio-pci lets devices that nobody has open; its registers are not "
            "read then. atoll apply SPEC wakes it for that, cuts what is open, and proves what is so",
            first="    ",
        )
    ]


def _witnesses(found: Sequence[Violation], style: Style, *, verbose: bool) -> list[str]:
    """Return each violation with its path; unless all are asked for, one of each kind between two clusters."""
    told: Sequence[Violation] = found
    if not verbose:
        kinds: dict[object, Violation] = {}
        for violation in found:
            first = violation.path[0].via if violation.path else ""
            kinds.setdefault((violation.source_cluster, violation.target_cluster, violation.breach, first), violation)
        told = list(kinds.values())[:_SHOWN]
    lines: list[str] = []
    for violation in told:
        lines += ["", *violation_lines(violation)]
    if len(found) > len(told):
        lines += ["", style.faint(f"    and {len(found) - len(told)} more: -v tells them all")]
    return lines


def resilience_lines(statement: Statement, style: Style) -> list[str]:
    """Return, by trigger, how many events it takes to break it, and which; and after how many it is not known."""
    rows = []
    proven = statement.proof.verdict is not Verdict.UNKNOWN
    for trigger, weakness in statement.resilience.items():
        open_after = statement.unproven.get(trigger)
        if weakness is None and not proven:
            rows.append((f"    {trigger.value}", style.doubtful("not known: facts are missing"), ""))
        elif open_after is not None:
            count = plural(len(open_after), "event")
            after = style.doubtful(f"not known after {count}")
            rows.append((f"    {trigger.value}", after, f"{_sequence(open_after)}, which may open a path"))
        elif weakness is None:
            rows.append((f"    {trigger.value}", style.good("no sequence of its events"), ""))
        elif not weakness:
            rows.append((f"    {trigger.value}", style.bad("violated already"), ""))
        else:
            rows.append((f"    {trigger.value}", plural(len(weakness), "event"), _sequence(weakness)))
    return [style.bold("Least events that break it"), *columns(rows)]


def _sequence(weakness: Weakness) -> str:
    return ", then ".join(map(_event, weakness))


def _event(event: Event) -> str:
    where = f" at {event.at}" if event.at is not None else ""
    return f"{event.kind.value}{where}"
