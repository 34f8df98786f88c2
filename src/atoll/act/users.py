"""Whom a user id stands for, as this process sees it."""

from __future__ import annotations

import os

__all__ = ["is_one_user"]

_PROCESS = "/proc/self/status"
_MAP, _OVERFLOW = "/proc/self/uid_map", "/proc/sys/kernel/overflowuid"
_ALL = (1 << 32) - 1
"""Users there are: the last id stands for none (user_namespaces(7))."""


def is_one_user(uid: int) -> bool:
    """Whether a user id stands for one user: in a user namespace that does not know all, those that it does not know
    have one in common (SO_PEERCRED and stat(2) give ``overflowuid``, user_namespaces(7)). A kernel without such
    namespaces (``CONFIG_USER_NS``) has no file that maps users, and knows all. Raises OSError without proc."""
    try:
        with open(_MAP, encoding="ascii") as file:
            ranges = [(int(first), int(count)) for first, _, count in map(str.split, file)]
    except FileNotFoundError:
        if not os.path.exists(_PROCESS):
            raise
        return True
    if sum(count for _, count in ranges) >= _ALL:
        return True
    with open(_OVERFLOW, encoding="ascii") as file:
        overflow = int(file.read())
    return uid != overflow and any(first <= uid < first + count for first, count in ranges)
