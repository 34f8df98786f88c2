"""Sizes in bytes."""

from __future__ import annotations

__all__ = ["GIBIBYTE", "KIBIBYTE", "MEBIBYTE"]

KIBIBYTE, MEBIBYTE, GIBIBYTE = 1 << 10, 1 << 20, 1 << 30
