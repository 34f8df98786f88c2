"""``atoll twin attack``: packets, not opinions."""

from __future__ import annotations

import argparse
from pathlib import Path

from atoll.cli.addresses import address_of
from atoll.cli.output import say
from atoll.cli.session import load_twin
from atoll.errors import InputError
from atoll.report.attack import attack_document, attack_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Let A try everything on B and print what arrived. The machine stays as it was; the exit code is 0 either way."""
    source, target = address_of(options.a), address_of(options.b)
    if source == target:
        raise InputError(f"{source} cannot attack itself", hint="name two functions")
    attack = load_twin(Path(options.file)).attack(source, target)
    say(
        options,
        lambda: attack_document(source, target, attack),
        lambda style: attack_lines(source, target, attack, style=style, verbose=options.verbose),
    )
    return 0
