"""Cluster files and plans as arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path

from atoll.cli.session import Session
from atoll.errors import InputError
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.pci.address import Address
from atoll.plan.document import SCHEMA, from_document
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan

__all__ = ["is_plan", "read_clusters", "read_plan", "read_standing", "read_text"]


_MOST_BYTES = 64 << 20
"""Of a plan for some ten thousand devices; a file may as well be a disk's image, or have no end (``/dev/zero``)."""


def read_text(path: str) -> str:
    """Return a file's text; ``-`` is standard input. It is read once: what a pipe has is gone then.

    Raises InputError where it is none, or too long, OSError where it cannot be read.
    """
    if not path:
        raise InputError("a file without a name", hint="name a cluster file (TOML)")
    if path == "-":
        data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        if not data:
            hint = "pipe the cluster file in; where --host is - too, name a file: it is read once"
            raise InputError("standard input: nothing", hint=hint)
    else:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path}: more than {_MOST_BYTES} bytes are too many", hint="name a cluster file (TOML)")
    try:
        # Editors of Windows begin a file with a mark that TOML does not know.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason}", hint="name a cluster file (TOML)") from error


def is_plan(text: str) -> bool:
    """Whether a text is a plan rather than a cluster file: a JSON object, which TOML never is."""
    return text.lstrip().startswith("{")


def read_clusters(
    path: str, host: Host, *, text: str | None = None, gone: Collection[Address] = ()
) -> tuple[str, Clusters]:
    """Return a cluster file's text and its clusters on a host, as ``read_spec`` does; what is ``gone`` may be named.

    ``text`` is what the file holds, where it was read already. Raises InputError, RefusedError, OSError.
    """
    text = read_text(path) if text is None else text
    if is_plan(text):
        if f'"{SCHEMA}"' not in text:
            raise InputError(f"{path}: JSON, where a cluster file is wanted", hint="name a cluster file (TOML)")
        raise InputError(
            f"{path}: a plan, where a cluster file is wanted", hint="plans go to: atoll apply, prove --after"
        )
    return text, read_spec(text, host, name=path, gone=gone)


def read_standing(path: str, session: Session, *, text: str | None = None) -> tuple[str, Clusters]:
    """Return what ``read_clusters`` does, with who else has devices there. Raises as it does."""
    from atoll.act.others import with_others

    text, clusters = read_clusters(path, session.host, text=text)
    return text, with_others(session.witness, session.host, clusters)


def read_plan(path: str, *, text: str | None = None) -> Plan:
    """Return a plan from its file, or its text where that was read already. Raises InputError, OSError."""
    text = read_text(path) if text is None else text
    hint = "a plan is what atoll plan SPEC -o FILE writes; name that file, or a cluster file"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a plan ({SCHEMA}): {str(error)[:120]}", hint=hint) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        what = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise InputError(f"{path}: not a plan ({SCHEMA}): {str(what)!r:.60}", hint=hint)
    return from_document(document)
