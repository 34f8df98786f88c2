"""From a host to answers about it."""

from __future__ import annotations

from atoll.controls.present import present
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host.model import Host
from atoll.isolation.reach import Reach

__all__ = ["reach_of"]


def reach_of(host: Host, policy: str) -> Reach:
    """Return who reaches whom on a host as it is set now."""
    return Reach(Topology(host), present(host), Policy(policy))
