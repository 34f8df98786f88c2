"""What random machines leave as it is."""

from __future__ import annotations

from atoll.twin.spec import Blueprint, FunctionSpec

__all__ = ["spared"]


def spared(spec: FunctionSpec, plan: Blueprint) -> bool:
    """Whether a function is left alone: virtual ones, IOMMUs, Volume Management Devices, what the host runs on."""
    return spec.physfn is not None or spec.address in plan.essential | plan.platform_functions
