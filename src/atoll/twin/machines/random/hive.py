"""GPUs joined by switches, or to hives, in random machines.

NVSwitches are functions of their own, with links to GPUs and, between boards, to one another: of the latter no tool
tells. Hives are GPUs of AMD whose links lead over one another's ends, and cannot be cut (xGMI); their driver's topology
tells them (drivers/gpu/drm/amd/amdkfd/kfd_topology.c): of every two of a hive how far they are apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import PortType
from atoll.twin.machines import vmd
from atoll.twin.machines.random.products import CARD, GPU, GPU_BARS, Product
from atoll.twin.machines.random.tree import MOST_LINKS
from atoll.twin.machines.records import nvlink_records
from atoll.twin.placement import place
from atoll.twin.sizes import MEBIBYTE
from atoll.twin.spec import Bar, Blueprint, FunctionSpec, Link, Model

__all__ = ["with_hives"]

_SWITCH = Product(0x10DE, 0x1AC2, DeviceClass.OTHER_BRIDGE << 8, "nvidia-nvswitch")
_MI210 = Product(0x1002, 0x740F, DeviceClass.OTHER_DISPLAY << 8, "amdgpu")
_MOST_GPUS, _SWITCHES = 10, (0, 1, 2, 2, 3, 4)
_SWITCH_PORTS = 18
"""Of the first NVSwitch."""
_NODES = "sys/class/kfd/kfd/topology/nodes"
_XGMI, _ON_PCI = 11, 2
"""Types of links in the topology (``CRAT_IOLINK_TYPE_XGMI``, ``CRAT_IOLINK_TYPE_PCIEXPRESS``, kfd_crat.h)."""
_HOP, _TO_CPU = 15, 20
"""What a link weighs there: of a hive a hop, or over PCI Express to the processor."""


def with_hives(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine with more GPUs, joined by switches, or to hives, or some one way and some the other."""
    functions = _peopled(plan, dice)
    if functions is None:
        return plan
    xgmi = tuple(spec.address for spec in functions if spec.model is Model.XGMI)
    gpus = tuple(spec.address for spec in functions if spec.model is Model.V100)
    switches = [spec.address for spec in functions if spec.model is Model.NVSWITCH]
    kept = plan.links if not switches or dice.random() < 0.3 else ()
    mesh = [link for link in kept if link.a in gpus and link.b in gpus]
    mesh += _switched(gpus, switches, mesh, dice)
    hives = _hives(xgmi, dice)
    links = tuple(sorted((*mesh, *hives), key=lambda link: (link.a, link.a_number)))
    files = [file for file in plan.files if not file[0].startswith(("records/nvidia-smi", "records/README"))]
    if plan.linked:
        files += nvlink_records(gpus, tuple(mesh)) if gpus and mesh else ()
        files += _topology(xgmi, hives, len([each for each in plan.bridges if each.vmd is None]))
    return replace(plan, functions=functions, links=links, files=tuple(files))


def _peopled(plan: Blueprint, dice: random.Random) -> tuple[FunctionSpec, ...] | None:
    """Return the functions with GPUs and switches instead of cards, and GPUs of AMD instead of some; None: no room."""
    functions = {spec.address: spec for spec in plan.functions}
    cards = [spec for spec in plan.functions if _plain(spec)]
    dice.shuffle(cards)
    count = sum(spec.model is Model.V100 for spec in plan.functions)
    switches, wanted = 0, dice.choice(_SWITCHES)
    for spec in cards:
        if switches < wanted and dice.random() < 0.5:
            functions[spec.address] = _switch(spec)
            switches += 1
        elif count < _MOST_GPUS and dice.random() < 0.9:
            functions[spec.address] = _gpu(spec)
            count += 1
    amd = dice.choice((0.0, 0.0, 0.5, 1.0))
    for address, spec in functions.items():
        if spec.model is Model.V100 and dice.random() < amd:
            functions[address] = _other_gpu(spec)
    made = vmd.refitted(tuple(functions.values()), plan.bridges)
    try:
        place(replace(plan, functions=made))
    except ValueError:
        return None
    return made


def _plain(spec: FunctionSpec) -> bool:
    return CARD.matches(spec) and spec.port is PortType.ENDPOINT and not spec.dma_aliases


def _gpu(spec: FunctionSpec) -> FunctionSpec:
    return replace(_renamed(spec, GPU), bars=GPU_BARS, model=Model.V100)


def _other_gpu(spec: FunctionSpec) -> FunctionSpec:
    bars = (
        Bar(0, 256 * MEBIBYTE, wide=True, prefetchable=True),
        Bar(2, 2 * MEBIBYTE, wide=True, prefetchable=True),
        Bar(5, MEBIBYTE),
    )
    return replace(_renamed(spec, _MI210), bars=bars, model=Model.XGMI)


def _switch(spec: FunctionSpec) -> FunctionSpec:
    made = _renamed(spec, _SWITCH)
    return replace(made, bars=(Bar(0, 32 * MEBIBYTE),), model=Model.NVSWITCH)


def _renamed(spec: FunctionSpec, product: Product) -> FunctionSpec:
    return replace(
        spec,
        vendor=product.vendor,
        device=product.device,
        class_code=product.class_code,
        driver=product.driver,
        subsystem=(product.vendor, 0x1212),
        ats=False,
        flr=False,
    )


def _switched(
    gpus: tuple[Address, ...], switches: list[Address], mesh: list[Link], dice: random.Random
) -> Iterator[Link]:
    """Yield links of GPUs to switches, and of switches to one another: of one board, or of two."""
    free = {switch: dice.sample(range(_SWITCH_PORTS), _SWITCH_PORTS) for switch in switches}
    apart = len(switches) > 1 and dice.random() < 0.6
    boards = [switches[::2], switches[1::2]] if apart else [switches]
    for gpu in gpus:
        used = {link.a_number for link in mesh if link.a == gpu} | {link.b_number for link in mesh if link.b == gpu}
        board, whole = dice.choice(boards), dice.random() < 0.85
        for number in range(MOST_LINKS):
            ends = [switch for switch in board if free[switch]]
            if number not in used and ends and (whole or dice.random() < 0.5):
                switch = dice.choice(ends)
                yield Link(gpu, number, switch, free[switch].pop())
    for one in boards[0] if apart and dice.random() < 0.8 else ():
        for other in boards[1]:
            if free[one] and free[other] and dice.random() < 0.7:
                yield Link(one, free[one].pop(), other, free[other].pop())


def _hives(gpus: tuple[Address, ...], dice: random.Random) -> list[Link]:
    """Join GPUs to hives of one to four: each to one that is in, and some more to each other."""
    left, found = dice.sample(gpus, len(gpus)), []
    while left:
        hive = [left.pop() for _ in range(min(len(left), dice.randint(1, 4)))]
        ports = dict.fromkeys(hive, 0)
        pairs = {frozenset((hive[index], dice.choice(hive[:index]))) for index in range(1, len(hive))}
        pairs |= {frozenset(dice.sample(hive, 2)) for _ in range(dice.randint(0, len(hive))) if len(hive) > 1}
        for one, other in sorted(tuple(sorted(pair)) for pair in pairs):
            found.append(Link(one, ports[one], other, ports[other]))
            ports[one] += 1
            ports[other] += 1
    return found


def _topology(gpus: tuple[Address, ...], links: list[Link], processors: int) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the driver's topology: a node each processor and each GPU."""
    if not gpus:
        return
    far = {gpu: _hops(gpu, links) for gpu in gpus}
    node = {gpu: processors + index for index, gpu in enumerate(gpus)}
    for index in range(processors):
        yield f"{_NODES}/{index}/gpu_id", b"0\n"
        yield f"{_NODES}/{index}/properties", _lines(cpu_cores_count=16, vendor_id=0, location_id=0, hive_id=0)
    for gpu, number in node.items():
        peers = sorted(far[gpu].items())
        hive = 0 if not peers else 0x5EED0000 + min(node[each] for each in (gpu, *far[gpu]))
        yield f"{_NODES}/{number}/gpu_id", f"{4096 + number}\n".encode()
        yield (
            f"{_NODES}/{number}/properties",
            _lines(
                cpu_cores_count=0,
                simd_count=416,
                io_links_count=1 + len(peers),
                vendor_id=_MI210.vendor,
                device_id=_MI210.device,
                location_id=gpu.requester_id,
                domain=gpu.domain,
                hive_id=hive,
                num_sdma_xgmi_engines=3,
                unique_id=0x5EED00000000 + number,
            ),
        )
        yield f"{_NODES}/{number}/io_links/0/properties", _io_link(_ON_PCI, number, 0, _TO_CPU)
        for place_of, (peer, hops) in enumerate(peers, start=1):
            link = _io_link(_XGMI, number, node[peer], _HOP * hops)
            yield f"{_NODES}/{number}/io_links/{place_of}/properties", link


def _hops(gpu: Address, links: list[Link]) -> dict[Address, int]:
    """Return how many links away the others of a GPU's hive are."""
    found, edge = {gpu: 0}, [gpu]
    for here in edge:
        beside = (link.b if link.a == here else link.a for link in links if here in (link.a, link.b))
        for each in beside:
            if each not in found:
                found[each] = found[here] + 1
                edge.append(each)
    del found[gpu]
    return found


def _io_link(kind: int, one: int, other: int, weight: int) -> bytes:
    speed = 50000 if kind == _XGMI else 32000
    return _lines(
        type=kind,
        version_major=0,
        version_minor=0,
        node_from=one,
        node_to=other,
        weight=weight,
        min_latency=0,
        max_latency=0,
        min_bandwidth=speed,
        max_bandwidth=speed,
        recommended_transfer_size=0,
        flags=1,
    )


def _lines(**values: int) -> bytes:
    return "".join(f"{name} {value}\n" for name, value in values.items()).encode()
