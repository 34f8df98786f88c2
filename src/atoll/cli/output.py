"""Where a verb's result goes: a document for programs, or lines for people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from atoll.report.printable import printable
from atoll.report.style import Style, style_for

__all__ = ["say"]


def say(
    options: argparse.Namespace, document: Callable[[], Mapping[str, Any]], lines: Callable[[Style], Iterable[str]]
) -> None:
    """Print the document with ``--json``, else the lines; only the one that is asked for is made."""
    if options.json:
        from atoll.report.document import dump

        print(dump(document()))
    else:
        print("\n".join(map(printable, lines(style_for(sys.stdout)))))
