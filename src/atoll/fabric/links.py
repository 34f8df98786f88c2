"""Links outside PCIe as edges: which are open, and what opens them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, worst
from atoll.fabric.families import is_brick, possible_cpu_links, possible_kinds, possible_xgmi_to_cpu
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.topology import Topology
from atoll.host.asleep import asleep
from atoll.host.model import EndKind, Link, LinkEnd, LinkKind, Platform
from atoll.pci.address import Address

__all__ = [
    "NPU_UNCONFIGURED",
    "across_links",
    "between",
    "far_end",
    "into_system",
    "is_open",
    "leads_on",
    "linkless",
    "near_end",
    "open_links",
    "unended",
]

NPU_UNCONFIGURED = "npu-unconfigured"
"""Id of the assumption that an NPU which no kernel configures lets nothing through."""


def near_end(link: Link, address: Address) -> LinkEnd:
    """Return the end of a link that stands at a function."""
    return link.a if link.a.function == address else link.b


def far_end(link: Link, address: Address) -> LinkEnd:
    """Return the end of a link that is not at a function."""
    return link.b if link.a.function == address else link.a


def leads_on(link: Link, address: Address) -> bool:
    """Whether a function's link may lead on to others: to a switch chip, off the host, or nobody knows where."""
    return far_end(link, address).kind not in (EndKind.FUNCTION, EndKind.CPU)


def between(topology: Topology, one: Address, other: Address) -> tuple[Link, ...]:
    """Return the links that join two functions directly."""
    return tuple(link for link in topology.links.get(one, ()) if far_end(link, one).function == other)


def _cut(settings: Settings, end: LinkEnd) -> bool | None:
    """Whether a link is cut at this end; None unknown."""
    if end.function is None or end.function not in settings.cut:
        return False
    cut = settings.cut[end.function]
    if cut is None:
        return None
    return end.number in cut if end.number is not None else (None if cut else False)


def is_open(settings: Settings, link: Link) -> bool | None:
    """Whether traffic passes a link whose ends are paired by a source; None unknown. One end cut closes it."""
    ends = (_cut(settings, link.a), _cut(settings, link.b))
    if True in ends:
        return False
    return None if None in ends else True


def open_links(settings: Settings, links: Iterable[Link], source: Address) -> tuple[Answer, Link | None]:
    """Return the answer over parallel links of one pair, and a link that shows it.

    Links whose pairing no source told count as cut only if all of them are cut at one end: which of them
    a mask that names some of them closes is not known.
    """
    untold = [link for link in links if not link.pairing_told]
    best: tuple[Answer, Link | None] = (Answer.BLOCKED, None)
    for link in (link for link in links if link.pairing_told):
        state = is_open(settings, link)
        if state is True:
            return Answer.DIRECT, link
        if state is None:
            best = (Answer.POSSIBLE, link)
    unpaired = _unpaired(settings, untold, source)
    return best if unpaired[0] is Answer.BLOCKED else unpaired


def _unpaired(settings: Settings, links: Sequence[Link], source: Address) -> tuple[Answer, Link | None]:
    """Return the answer over links of which no source told which end is joined to which, and one that shows it."""
    near = [_cut(settings, near_end(link, source)) for link in links]
    far = [_cut(settings, far_end(link, source)) for link in links]
    if all(cut is True for cut in near) or all(cut is True for cut in far):
        return Answer.BLOCKED, None
    cut_at_most = sum(cut is not False for cut in (*near, *far))
    if cut_at_most < len(links):
        return Answer.DIRECT, next(link for link, cut in zip(links, near, strict=True) if cut is False)
    return Answer.POSSIBLE, links[0]


def across_links(topology: Topology, settings: Settings, source: Address, target: Address) -> Finding:
    """Say whether ``source`` can access ``target`` over links, directly or through a switch chip on them."""
    found = [_direct(topology, settings, source, target)]
    found.extend(_through_switch(topology, settings, source, target))
    found.extend(_of_physical(topology, settings, source, target))
    both = _may_join(topology, settings, source) & _may_join(topology, settings, target)
    shared = [kind.value for kind in LinkKind if kind in both]
    told = topology.host.links_told
    if shared and not (source in told and target in told):
        untold = " or ".join(str(one) for one in (source, target) if one not in told)
        kind = shared[0] if len(shared) == 1 else f"{shared[0]} or other"
        hop = Hop(str(source), kind, f"no source told the links of {untold}")
        found.append(Finding(Answer.POSSIBLE, (hop,)))
    if _may_face(topology, source, target):
        hop = Hop(str(source), "CPU-facing link", f"no source told all of where it leads; {target} may be behind it")
        found.append(Finding(Answer.POSSIBLE, (hop,)))
    return worst(*found)


def linkless(topology: Topology, settings: Settings, target: Address) -> bool:
    """Whether surely no link leads to a function: ``across_links`` says ``blocked`` then, whoever asks."""
    ends = {target, topology.functions[target].physical_function}
    return (
        ends.isdisjoint(topology.links)
        and not _may_join(topology, settings, target)
        and target not in topology.bricks
        and is_brick(topology.functions[target]) is False
    )


def _of_physical(topology: Topology, settings: Settings, source: Address, target: Address) -> Iterable[Finding]:
    """What a virtual function can access over the links of its physical one, or can be accessed over.

    NVIDIA's do, where one has a whole GPU's memory (vGPU documentation, "Peer-To-Peer CUDA Transfers"), and the members
    of AMD's hives; which do now is the host driver's secret.
    """
    ends = [topology.functions[address].physical_function or address for address in (source, target)]
    if ends == [source, target] or ends[0] == ends[1]:
        return
    if all(end in topology.links for end in ends):
        finding = across_links(topology, settings, *ends)
        if finding.answer > Answer.BLOCKED:
            hop = Hop(str(source), "links of its device", "virtual functions may use those of their physical function")
            yield Finding(min(finding.answer, Answer.POSSIBLE), (hop, *finding.path), finding.assumptions)


def _may_join(topology: Topology, settings: Settings, address: Address) -> frozenset[LinkKind]:
    """The kinds of links that may lead from a function to one whose links no source told."""
    if address in topology.host.links_told:
        return unended(topology, settings, address)
    return possible_kinds(topology.functions[address])


def unended(topology: Topology, settings: Settings, address: Address) -> frozenset[LinkKind]:
    """Return the kinds of those links of a function that are not cut and do not end at a function or the CPU.

    What else hangs on the chip, or stands at an end that is not known, other functions' links tell, if any source does.
    """
    links = topology.links.get(address, ())
    return frozenset(link.kind for link in links if leads_on(link, address) and is_open(settings, link) is not False)


def _may_face(topology: Topology, source: Address, target: Address) -> bool:
    """Whether ``target`` is, or may be, a brick behind a CPU-facing link of ``source`` that no source told whole."""
    brick = topology.bricks.get(target)
    if brick is None and is_brick(topology.functions[target]) is False:
        return False
    gpu = brick.gpu if brick is not None else None
    if gpu != source and (gpu is not None or not possible_cpu_links(topology.functions[source], powernv=True)):
        return False
    return source not in topology.host.links_told or _leads_somewhere(topology, source)


def _leads_somewhere(topology: Topology, gpu: Address) -> bool:
    """Whether a GPU has a CPU-facing link of which no source told to which function it leads."""
    ends = [far_end(link, gpu) for link in topology.links.get(gpu, ())]
    return any(end.kind is EndKind.CPU and end.function is None for end in ends)


def _name(end: LinkEnd) -> str:
    return "link ?" if end.number is None else f"link {end.number}"


def _direct(topology: Topology, settings: Settings, source: Address, target: Address) -> Finding:
    links = between(topology, source, target)
    answer, link = open_links(settings, links, source)
    if link is None:
        return BLOCKED
    near, far = near_end(link, source), far_end(link, source)
    state = "no end cuts it" if answer is Answer.DIRECT else _doubt(topology, settings, link)
    hop = Hop(str(source), f"{link.kind.value} {_name(near)}", f"{state}; it leads to {target} {_name(far)}")
    return Finding(answer, (hop,))


def _doubt(topology: Topology, settings: Settings, link: Link) -> str:
    for end in (link.a, link.b):
        if end.function is not None and settings.cut.get(end.function, frozenset()) is None:
            why = asleep(topology.functions[end.function])
            return f"the disable mask of {end.function} was not read" + (f": {why}" if why else "")
    return "some parallel links are cut, but no source told how they are paired"


def _through_switch(topology: Topology, settings: Settings, source: Address, target: Address) -> Iterable[Finding]:
    """Paths over one switch chip: both functions have a link to it."""
    for first in topology.links.get(source, ()):
        if not leads_on(first, source):
            continue
        middle = far_end(first, source)
        for second in topology.links.get(target, ()):
            if not leads_on(second, target):
                continue
            other = far_end(second, target)
            same = other.kind is middle.kind and (other.function, other.name) == (middle.function, middle.name)
            states = (is_open(settings, first), is_open(settings, second))
            if False in states:
                continue
            named = middle.function is not None or bool(middle.name)
            known = None not in states and same and named and middle.kind is EndKind.SWITCH
            via = f"{first.kind.value} {_name(near_end(first, source))}"
            because = f"both have a link to {_chip(middle)}"
            if not same:
                # Chips have links among themselves (HGX-2, HGX A100, NVL72), and the records of GPUs show none of them.
                because = f"whether {_chip(middle)} and {_chip(other)} are joined, no source told"
            hops = [Hop(str(source), via, because)]
            if named:
                hops.append(Hop(str(middle.function or middle.name), "switch", "it routes"))
            yield Finding(Answer.DIRECT if known else Answer.POSSIBLE, tuple(hops))
            if known:
                return


def _chip(end: LinkEnd) -> str:
    place = end.function or end.name
    if place:
        return f"{end.kind.value} {place}"
    return "a switch that no source names" if end.kind is EndKind.SWITCH else "what no source names, maybe one switch"


def into_system(topology: Topology, settings: Settings, source: Address) -> Finding:
    """Say what a function's CPU-facing links let it access of the system address space (memory, peers mapped there).

    What an NPU function of POWER sends is what its GPU sends through it.
    """
    brick = topology.bricks.get(source)
    gpu = brick.gpu if brick is not None and brick.gpu is not None and brick.gpu in topology.functions else source
    faces_unknown = gpu == source if brick is not None else is_brick(topology.functions[source]) is None
    if faces_unknown:
        return _possible(source, "which GPU it faces is not known")
    links = [link for link in topology.links.get(gpu, ()) if far_end(link, gpu).kind is EndKind.CPU]
    if brick is not None:
        links = [link for link in links if far_end(link, gpu).function == source]
        if not links and _leads_somewhere(topology, gpu):
            return _possible(gpu, f"no source told whether one of its links leads to {source}")
    if not links and gpu not in topology.host.links_told:
        function, powernv = topology.functions[gpu], topology.host.platform is Platform.POWERNV
        may = possible_cpu_links(function, powernv=powernv) or possible_xgmi_to_cpu(function)
        return _possible(gpu, "no source told its links") if may else BLOCKED
    link = next((link for link in links if is_open(settings, link) is not False), None)
    return BLOCKED if link is None else _over_bridge(settings, gpu, link)


def _possible(source: Address, why: str) -> Finding:
    return Finding(Answer.POSSIBLE, (Hop(str(source), "CPU-facing link", why),))


def _over_bridge(settings: Settings, gpu: Address, link: Link) -> Finding:
    """What a CPU-facing link that is not cut leads to: its bridge translates by itself."""
    via = f"{link.kind.value} {_name(near_end(link, gpu))} to the CPU"
    domain = settings.cpu_links.get(gpu)
    if domain is None:
        return Finding(Answer.POSSIBLE, (Hop(str(gpu), via, "the state of its bridge is not known"),))
    hops = (Hop(str(gpu), via, domain.because),)
    match domain.kind:
        case DomainKind.TRANSLATED:
            return Finding(Answer.IOMMU, hops)
        case DomainKind.IDENTITY | DomainKind.NONE:
            return Finding(Answer.DIRECT if is_open(settings, link) else Answer.POSSIBLE, hops)
        case DomainKind.BLOCKED:
            return Finding(Answer.BLOCKED, hops, frozenset({NPU_UNCONFIGURED}))
        case DomainKind.UNKNOWN:
            return Finding(Answer.POSSIBLE, hops)
