"""The machine that atoll runs on, behind the seam that the executor works through."""

from __future__ import annotations

from atoll.act.live.machine import LiveMachine

__all__ = ["LiveMachine"]
