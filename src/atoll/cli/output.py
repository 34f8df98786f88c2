"""Where a verb's result goes: a document for programs, or lines for people."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from atoll.errors import InputError

if TYPE_CHECKING:
    from atoll.report.style import Style

__all__ = ["leave_output", "put", "say"]


def say(
    options: argparse.Namespace, document: Callable[[], Mapping[str, Any]], lines: Callable[[Style], Iterable[str]]
) -> None:
    """Print the document with ``--json``, else the lines; only the one that is asked for is made."""
    if options.json:
        from atoll.report.document import dump

        text = dump(document())
    else:
        from atoll.report.layout import within
        from atoll.report.printable import printable, spelled
        from atoll.report.style import columns_of, style_for

        with within(columns_of(sys.stdout)):
            text = spelled("\n".join(map(printable, lines(style_for(sys.stdout)))), sys.stdout.encoding)
    # A verb that changes a host tells what it has done: how that stands, only the host can tell now.
    put(text + "\n", hint="write it elsewhere; how the host is now: atoll show")


def put(text: str, *, hint: str = "write it elsewhere") -> None:
    """Print a text as it stands. Raises InputError where it cannot be written, BrokenPipeError where nobody reads."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        leave_output()
        raise InputError(f"standard output: {error.strerror or error}", hint=hint) from error


def leave_output() -> None:
    """Keep the interpreter from complaining, later and at its end, about what could not be written."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
