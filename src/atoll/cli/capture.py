"""``atoll capture``: the host as an archive, to be read elsewhere and later."""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

from atoll.cli.output import say
from atoll.cli.overlay import Overlay
from atoll.cli.replacing import replacing
from atoll.cli.session import Session, open_session
from atoll.controls.registry import registers
from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.capture.make import capture
from atoll.host.model import Host
from atoll.host.records.merge.disagreement import is_disagreement
from atoll.host.trees.pack import pack
from atoll.report.capture import capture_document, capture_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Write the archive; what could not be read is told, and is no failure: the exit code is 0."""
    progress = _Progress(shown=not options.json and sys.stderr.isatty())
    with replacing(options.file, force=options.force) as file, progress:
        session = open_session(options.host)
        if session.texts:
            why = "a pasted text is a record already, and has no files to capture"
            raise InputError(f"{session.texts[0].name}: {why}", hint="keep the text itself; --host takes it as it is")
        host = _of_one_record(session)
        if not host.functions:
            raise InputError(f"{host.name}: shows no PCI function to capture", hint="see: atoll doctor")
        made = capture(
            session.tree,
            host,
            secret=secrets.token_bytes(32) if options.redact else None,
            time=datetime.now(UTC).isoformat(timespec="seconds") if options.time else None,
            progress=progress,
        )
        count = made.manifest.files + made.manifest.links
        pack(made.tree.root, file, lambda done: progress("packing", done, count))
    size = Path(options.file).stat().st_size
    say(
        options,
        lambda: capture_document(options.file, size, made.manifest),
        lambda style: capture_lines(options.file, size, made.manifest, host.gaps, style=style, verbose=options.verbose),
    )
    return 0


def _of_one_record(session: Session) -> Host:
    """Return the host that the archive will show. Raises InputError where records disagree: it could hold but one."""
    if not isinstance(session.tree, Overlay):
        return session.host
    doubted = [gap.what for gap in session.host.gaps if is_disagreement(gap)]
    if doubted:
        about = ", ".join(doubted[:3]) + (f" and {len(doubted) - 3} things more" if len(doubted) > 3 else "")
        raise InputError(f"{session.host.name}: they disagree about {about}", hint="capture one of them alone")
    return read_host(session.tree, registers=registers)


class _Progress:
    """One line on standard error that tells how far it is, on a terminal only."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._last = ""

    def __call__(self, what: str, done: int, count: int) -> None:
        if not self._shown:
            return
        percent = min(100 * done // max(count, 1), 100)
        # A line for each percent is enough: writing it costs more than reading a file.
        text = f"{percent:3} % {what.partition(' ')[0]}" if count > 1 else what
        if (mark := f"{percent} {what[:4]}") != self._last:
            self._last = mark
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
