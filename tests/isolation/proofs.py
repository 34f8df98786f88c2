"""Proofs of hand-made hosts, and what is looked at in them."""

from __future__ import annotations

from reach_hosts import (
    clusters,
    scene,
)

from atoll.fabric.answer import Policy
from atoll.host.model import Host
from atoll.isolation.proof import Breach, Proof, Verdict, prove

__all__ = ["PROVEN", "UNKNOWN", "VIOLATED", "ids", "proof", "wrong"]

PROVEN, VIOLATED, UNKNOWN = Verdict.PROVEN, Verdict.VIOLATED, Verdict.UNKNOWN


def proof(host: Host, policy: Policy = Policy.STRICT, /, **named: str) -> Proof:
    found = scene(host)
    return prove(found.reach(policy), clusters(host, **named))


def wrong(found: Proof) -> set[tuple[str, str, Breach]]:
    return {(str(v.source)[5:], v.target.removeprefix("0000:"), v.breach) for v in (*found.violations, *found.unknown)}


def ids(found: Proof) -> set[str]:
    return {assumption.id for assumption in found.assumptions}
