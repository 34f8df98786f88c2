"""Where a verb's result goes: a document for programs, or lines for people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from atoll.errors import InputError
from atoll.report.printable import printable
from atoll.report.style import Style, style_for

__all__ = ["say"]


def say(
    options: argparse.Namespace, document: Callable[[], Mapping[str, Any]], lines: Callable[[Style], Iterable[str]]
) -> None:
    """Print the document with ``--json``, else the lines; only the one that is asked for is made."""
    if options.json:
        from atoll.report.document import dump

        text = dump(document())
    else:
        text = "\n".join(map(printable, lines(style_for(sys.stdout))))
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        # A verb that changes a host tells what it has done: how that stands, only the host can tell now.
        raise InputError(
            f"standard output: {error.strerror or error}", hint="write it elsewhere; how the host is now: atoll show"
        ) from error
