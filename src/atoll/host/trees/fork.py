"""A child for what the kernel may not return from: it makes system calls and nothing else."""

from __future__ import annotations

import os
import warnings

__all__ = ["fork"]


def fork() -> int:
    """Fork, be there threads or not: return the child's number, 0 in the child.

    Since Python 3.12 ``os.fork`` warns where there are threads: one of them may hold a lock that nobody gives up in
    the child. A child that takes no locks of Python's need not fear it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()
