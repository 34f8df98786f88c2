"""``atoll plan``: what would be done."""

from __future__ import annotations

import argparse
from pathlib import Path

from atoll.cli.output import say
from atoll.cli.replacing import replacing
from atoll.cli.session import open_session
from atoll.cli.spec import read_standing
from atoll.controls.present import present
from atoll.errors import RefusedError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.plan.document import SCHEMA, to_document
from atoll.plan.planner import plan
from atoll.plan.step import Plan
from atoll.report.document import dump
from atoll.report.plan import plan_lines

__all__ = ["exit_code", "run"]

_HEAD = 200
"""Bytes at a plan's beginning, among which its schema stands."""


def run(options: argparse.Namespace) -> int:
    """Print the steps, and write them to a file with ``-o``; nothing on the machine is changed."""
    session = open_session(options.host)
    host = session.host
    text, clusters = read_standing(options.spec, session)
    settings = present(host, allow_assumed=clusters.allow_assumed)
    made = plan(Topology(host), settings, clusters, Policy(options.policy), spec=text)
    if options.output is not None:
        _write(Path(options.output), dump(to_document(made)) + "\n")
    say(
        options,
        lambda: to_document(made),
        lambda style: plan_lines(made, style=style, verbose=options.verbose),
    )
    return exit_code(made)


def _write(path: Path, text: str) -> None:
    """Write a plan, over an earlier one only: a slip is not to cost a cluster file or a twin.

    A file is written whole or not at all: a full disk costs no earlier plan either.
    """
    if path.is_file():
        with open(path, "rb") as file:
            head = file.read(_HEAD)
        if head.strip() and f'"{SCHEMA}"'.encode() not in head:
            raise RefusedError(f"{path} is there and is no plan", hint="name another file, or remove it first")
    if path.is_file() or not path.exists():
        with replacing(str(path), force=True) as whole:
            whole.write(text.encode())
        return
    try:
        # A device or a pipe: there is nothing to lose.
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        # Python names the file where it cannot be opened, not where it cannot be written.
        raise OSError(error.errno, error.strerror, str(path)) from error


def exit_code(made: Plan) -> int:
    """Return 0 where the plan achieves all, 1 where not, 3 where only facts are missing."""
    lacking = (*made.impossible, *made.unachievable)
    if not lacking:
        return 0
    return 3 if all(entry.unknown for entry in lacking) else 1
