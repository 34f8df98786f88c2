"""Putting back what was changed for a moment, without hiding what went wrong meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from atoll.act.failure import Failure

__all__ = ["put_back"]


@contextmanager
def put_back(act: Callable[[], object]) -> Iterator[None]:
    """Put something back at the end, whatever happens. Where that fails too, Failure tells what failed first."""
    try:
        yield
    except (Failure, OSError) as error:
        try:
            act()
        except (Failure, OSError) as second:
            hint = error.hint if isinstance(error, Failure) else ""
            raise Failure(f"{error}; and what was changed for that was not put back: {second}", hint) from error
        raise
    except BaseException:
        act()
        raise
    act()
