"""``atoll atoms``: what could be isolated."""

from __future__ import annotations

import argparse

from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.cli.view import reach_of
from atoll.fabric.answer import Policy
from atoll.isolation.atoms import atoms
from atoll.report.atoms import atoms_document, atoms_lines
from atoll.report.names import Names
from atoll.report.style import Style

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print the smallest sets that could be told apart, with the settings that it takes."""
    host = open_session(options.host).host
    reach = reach_of(host, options.policy)
    found = atoms(reach.topology, reach.settings, reach.policy)

    def lines(style: Style) -> list[str]:
        trusted = len(found)
        if any(atom.open for atom in found):
            trusted = len(atoms(reach.topology, reach.settings, Policy.TRUSTED))
        return atoms_lines(host, found, trusted=trusted, names=Names.load(), style=style, verbose=options.verbose)

    say(options, lambda: atoms_document(host, found), lines)
    return 0
