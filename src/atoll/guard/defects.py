"""Defects of atoll's own in what is answered: no end of a holder, on whose watching owners rely."""

from __future__ import annotations

import logging
import traceback

from atoll.errors import AtollError

__all__ = ["Defects"]

_LOG = logging.getLogger("atoll.guard")


class Defects:
    """Tells of defects."""

    def __init__(self) -> None:
        self._places: set[tuple[str, int]] = set()

    def tell(self, defect: Exception, asked: str) -> AtollError:
        """Log where a defect is, once: nobody fills the log by asking. Return what is answered: whom it speaks of is
        not for everybody."""
        *_, (frame, line) = traceback.walk_tb(defect.__traceback__)
        place = (frame.f_code.co_filename, line)
        if place not in self._places:
            self._places.add(place)
            _LOG.error("ask=%s reason='a defect of atoll'", asked, exc_info=defect)
        return AtollError("that failed by a defect of atoll", hint="report it, with what the holder's log has of it")
