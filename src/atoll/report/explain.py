"""Why two functions share a group, or reach one another, and what would change it."""

from __future__ import annotations

from typing import Any

from atoll.controls.acs_recipe import opening_lines
from atoll.fabric.answer import Answer
from atoll.host.groups import on_xen
from atoll.host.model import Host
from atoll.isolation.explain import Explanation, Way
from atoll.isolation.exposure import Exposure
from atoll.isolation.groups.override_evidence import obeys_untold_override, override_in_force
from atoll.pci.address import Address
from atoll.report.contention import contention_document, contention_lines
from atoll.report.document import document
from atoll.report.findings import answer_words, finding_document
from atoll.report.lacking import lacking
from atoll.report.layout import room, wrap
from atoll.report.names import Names
from atoll.report.path import path_lines
from atoll.report.quantity import hexadecimal, size
from atoll.report.style import Style

__all__ = ["explain_document", "explain_lines", "summary"]


def explain_document(host: Host, explanation: Explanation) -> dict[str, Any]:
    """Return the explanation as programs get it; ``answers`` has both ways."""
    one, other = explanation.one, explanation.other
    return document(
        "explain",
        host=host.name,
        a=str(one),
        b=str(other),
        summary=summary(host, explanation),
        groups=list(explanation.groups),
        same_group=explanation.same_group,
        predicted=not explanation.recorded,
        missing=list(explanation.missing),
        why=list(explanation.why),
        answers=[
            _answer(explanation.there),
            _answer(explanation.back),
        ],
        redirecting=[str(port) for port in explanation.redirecting],
        contention=contention_document(explanation.shared),
        remedies=[{"what": r.what, "how": r.how or None, "effect": r.effect} for r in explanation.remedies],
    )


def _answer(way: Way) -> dict[str, Any]:
    exposed = way.exposed
    return {
        "from": str(way.source),
        "to": str(way.target),
        **finding_document(way.finding),
        "identity": finding_document(way.identity),
        "addresses": None
        if exposed is None
        else [
            {
                "what": one.what,
                "ranges": [[hexadecimal(part.start), hexadecimal(part.end)] for part in one.ranges],
                "doubt": one.doubt or None,
            }
            for one in exposed.exposed
        ],
        "addresses_unknown": [] if exposed is None else list(exposed.unknown),
    }


def summary(host: Host, explanation: Explanation) -> str:
    """Return the answer in one sentence: the claim, and what the hardware says to it."""
    reach, joined = _reach_words(explanation)
    if explanation.same_group is None:
        link = "; they" if reach.startswith(("reach", "may")) else ";"
    else:
        link = " and" if joined == explanation.same_group else ", yet" if joined else ", though"
        if not joined and not explanation.same_group:
            link = ", and"
        if not explanation.recorded:
            link = f",{link.lstrip(',')}"
    return f"{explanation.one} and {explanation.other} {_claim_words(host, explanation)}{link} {reach}."


def _claim_words(host: Host, explanation: Explanation) -> str:
    """What the kernel says of the two, or is predicted to say."""
    if explanation.same_group is None:
        return "have no groups that are known"
    if explanation.recorded and explanation.same_group:
        return f"share group {explanation.groups[0]}"
    if explanation.recorded:
        return "are in different groups" if None not in explanation.groups else "are not in one group"
    if on_xen(host):
        claim = "would share a group" if explanation.same_group else "would be in different groups"
        return f"{claim} if Linux had booted without Xen, which knows none"
    if explanation.missing:
        claim = "may share a group" if explanation.same_group else "may be in different groups"
        return f"{claim}, as guessed from a record that does not tell all"
    claim = "would share a group" if explanation.same_group else "would be in different groups"
    return f"{claim}, as predicted"


def _reach_words(explanation: Explanation) -> tuple[str, bool]:
    """The worst that the hardware lets the two do to one another, and whether that is anything."""
    ways = (explanation.there, explanation.back)
    for answer, reaches, sends in (
        (Answer.DIRECT, "{} reaches {} directly", "{} can send requests as {}"),
        (Answer.POSSIBLE, "{} may reach {}", "{} may send requests as {}"),
    ):
        reaching = [(way.source, way.target) for way in ways if way.finding.answer is answer]
        if len(reaching) == 2:
            return "reach one another directly" if answer is Answer.DIRECT else "may reach one another", True
        if reaching:
            return reaches.format(*reaching[0]), True
        posing = [(way.source, way.target) for way in ways if way.identity.answer is answer]
        if posing:
            return sends.format(*posing[0]), True
    return "neither reaches the other but by the IOMMU's mappings", False


def _exposed_lines(exposed: Exposure | None) -> list[str]:
    if exposed is None:
        return []
    lines: list[str] = []
    for one in exposed.exposed:
        if one.doubt:
            somewhere = ", ".join(f"{part.start:#x}-{part.end:#x}" for part in one.ranges)
            lines += wrap(f"{one.what} in {somewhere}: {one.doubt}", first="        ")
            continue
        for part in one.ranges:
            lines += wrap(f"{one.what} {part.start:#x}-{part.end:#x} ({size(part.size)})", first="        ")
    for reason in exposed.unknown:
        lines += wrap(reason, first="        ? ")
    if not lines:
        return ["      over PCIe none: no address of it lies in the windows on the way"]
    return ["      over PCIe these addresses of it, by BARs and windows:", *lines]


def _way_lines(way: Way, style: Style) -> list[str]:
    """What one does to the other: whether it reaches it and on which path, at which addresses, under whose id."""
    lines = [f"    {way.source} → {way.target}: {answer_words(way.finding.answer, style)}"]
    lines += path_lines(way.finding.path, margin="      ")
    lines += _exposed_lines(way.exposed)
    if way.identity.answer > Answer.IOMMU:
        can = style.bad("can") if way.identity.answer is Answer.DIRECT else style.doubtful("may")
        lines.append(f"      and it {can} send requests as {way.target}:")
        lines += path_lines(way.identity.path, margin="        ")
    return lines


def _claim(host: Host, explanation: Explanation) -> str:
    """What the kernel says of the two, with the groups' numbers."""
    if explanation.same_group is None:
        return "no groups recorded, and none can be predicted"
    if not explanation.recorded and on_xen(host):
        return (
            f"none on Xen; Linux without it would form {'one group' if explanation.same_group else 'different groups'}"
        )
    if not explanation.recorded:
        return f"not recorded; predicted into {'one group' if explanation.same_group else 'different groups'}"
    if explanation.same_group:
        return f"both in group {explanation.groups[0]}"
    numbers = " and ".join("none" if group is None else str(group) for group in explanation.groups)
    return f"in different groups ({numbers})"


def _detour_lines(host: Host, ports: tuple[Address, ...]) -> list[str]:
    """What keeps two functions' traffic from turning in their switch, for whom it is too slow, or does not arrive."""
    if not ports:
        return []
    named = ", ".join(map(str, ports))
    what = (
        f"What one sends the other goes by the root complex, and comes down again: ReqRedir+ at {named}. For "
        "peer-to-peer traffic inside the switch (NCCL, GPUDirect) clear it; the two are not isolated from one another "
        "then, whatever the groups go on saying:"
    )
    return [
        "",
        *wrap(what, first="    "),
        *(f"        {line}" for line in opening_lines(host, ports)),
        *wrap("(until the port is reset; at each boot: the kernel's command line has", first="      "),
        f"      pci=disable_acs_redir={';'.join(map(str, ports))})",
    ]


def explain_lines(host: Host, explanation: Explanation, *, names: Names, style: Style) -> list[str]:
    """Return the explanation as people read it: the claim, the reach both ways, what would change it."""
    one, other = explanation.one, explanation.other
    lines = wrap(style.bold(summary(host, explanation)))
    lines += ["", *("    " + names.short_line(host.functions[address], room() - 4) for address in (one, other))]
    lines += ["", f"{style.bold('The kernel')}: {_claim(host, explanation)}"]
    if obeys_untold_override(host) or override_in_force(host):
        lines += wrap("as pcie_acs_override= has it, which says nothing of the hardware", first="    ")
    if explanation.missing:
        lines += wrap(style.doubtful("? ") + "it rests on what the record lacks:", first="  ", rest="    ")
        for fact in lacking(explanation.missing):
            lines += wrap(fact, first="      ", rest="        ")
    for reason in explanation.why:
        lines += wrap(reason, first="    ", rest="      ")
    lines += ["", style.bold("The hardware, as it is set now")]
    for way in (explanation.there, explanation.back):
        lines += ["", *_way_lines(way, style)]
    lines += _detour_lines(host, explanation.redirecting)
    lines += contention_lines(explanation.shared, style)
    if explanation.remedies:
        lines += ["", style.bold("What would change it")]
        for remedy in explanation.remedies:
            lines += wrap(remedy.what, first="    - ")
            lines += [f"        {line}" for line in remedy.how.splitlines()]
            lines += wrap(remedy.effect, first="        ") if remedy.effect else []
    return lines
