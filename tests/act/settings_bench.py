"""Random machines on which a reset takes what no step has set, and what stands on them."""

from __future__ import annotations

import random

from act_bench import host_of
from lots import roll_clusters
from packets import disturb

from atoll.controls.present import present
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.pci.address import Address
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.twin import Twin

SEEDS = (71, 87, 153, 163)
"""Fabrics with clusters that can be given their devices, and functions that a reset takes something from."""
VECTOR = 87
"""One where that is an egress control vector, which closing takes: only a reset of its bus resets it."""
LOST = Address.parse("0000:0f:00.0")
"""Of this function."""


def wanted(seed: int) -> tuple[Twin, Host, Clusters, Plan]:
    """Return a twin, the host as it is before anything, random clusters, and the plan for them."""
    dice = random.Random(f"rel {seed}")
    twin = Twin.new(f"random-{seed}")
    disturb(twin, host_of(twin), dice)
    before = host_of(twin)
    text = "".join(roll_clusters(twin, before, dice))
    clusters = read_spec(text, before, name="spec")
    return twin, before, clusters, plan(Topology(before), present(before), clusters, spec=text)


def vector_of(twin: Twin) -> int | None:
    """Return the egress control vector of ``LOST``."""
    acs = value_of(host_of(twin).functions[LOST].acs, None)
    return acs.egress_vector if acs is not None else None


def unbound(twin: Twin, address: Address) -> None:
    """Take the driver off a function, as its owner did before atoll came."""
    driver = value_of(host_of(twin).functions[address].driver, None)
    twin.write(f"sys/bus/pci/drivers/{driver}/unbind", str(address).encode())
