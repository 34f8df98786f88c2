"""From arguments to a verb and its options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from atoll.cli.output import put
from atoll.cli.verbs import COMMON, VERBS, Verb
from atoll.errors import InputError

__all__ = ["parse"]


_CLUSTER_FILE = """
a cluster file names who owns what; whatever it does not name is the host's:
  [cluster.red]
  devices = ["0000:41:00.0", "gpu[1]"]   # addresses, ids ("10de:1db1"), GPUs in address order
  handover = "held"                      # vfio (the default), held, kernel
"""


_ANY_WIDTH = 80
"""Of help that nobody sees: argparse formats each argument to check it, and to find the terminal's width takes long."""


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving."""

    after = ""
    """What its help ends with, as it stands."""

    def format_help(self) -> str:
        return super().format_help() + self.after

    def error(self, message: str) -> NoReturn:
        raise InputError(message, hint=self._near(message) or f"see: {self.prog} --help")

    def _near(self, message: str) -> str:
        """Return a hint that names what an unknown option or choice was meant to be; empty where nothing is near."""
        _, unknown, words = message.partition("unrecognized arguments: ")
        if unknown:
            known = [name for name in self._option_string_actions if len(name) > 2]
            return _near_option(words.partition(" ")[0], known)
        before, wrong, rest = message.partition("invalid choice: ")
        if not wrong:
            return ""
        choice, _, choices = rest.partition(" (choose from ")
        known = [one.strip("'\" ") for one in choices.rstrip(")").split(",")]
        return _meant(choice.strip("'"), known, before.removeprefix("argument ").strip(": ") + " ")


def _near_option(word: str, known: Sequence[str]) -> str:
    return _meant(word.partition("=")[0], known) if word.startswith("--") else ""


def _meant(word: str, known: Sequence[str], before: str = "") -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f"did you mean {before}{near[0]}?" if near else ""


def parse(arguments: Sequence[str]) -> tuple[Verb | None, argparse.Namespace]:
    """Return the verb and its options; no verb where help was asked for, and printed.

    The common options may stand before the verb or after it. Raises InputError for wrong use, and where help cannot be
    printed.
    """
    if any("\0" in argument for argument in arguments):
        raise InputError("an argument has a NUL character in it", hint="no file and no device is called so")
    words, rest = _split(arguments)
    _check_before(arguments[: arguments.index(words[0])] if words else ())
    if not words:
        if {"-h", "--help"} & set(rest):
            put(_overview())
            return None, argparse.Namespace()
        words = (VERBS[0].name,)
    if words == ("help",):
        about = tuple(word for word in rest if not word.startswith("-"))
        put(_parser(_verb(about)).format_help() if about else _overview())
        return None, argparse.Namespace()
    verb = _verb(words)
    if {"-h", "--help"} & set(rest):
        put(_parser(verb).format_help())
        return None, argparse.Namespace()
    options = _parser(verb, width=_ANY_WIDTH).parse_args(rest)
    options.host = options.host or ["live"]
    options.verb = verb.name
    return verb, options


def _check_before(arguments: Sequence[str]) -> None:
    """Raise InputError for a misspelt option in front of the verb: a value that follows it would pass for the verb."""
    common = [name for argument in COMMON for name in argument.names]
    for word in arguments:
        near = "" if word.partition("=")[0] in (*common, "--help") else _near_option(word, common)
        if near:
            raise InputError(f"no such option of every verb: {word}", hint=near)


def _split(arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the words of the verb, and everything else in its order."""
    with_value = {name for argument in COMMON if argument.takes_value for name in argument.names}
    two_words = {verb.name.split()[0] for verb in VERBS if " " in verb.name}
    words: list[str] = []
    rest: list[str] = []
    for position, argument in enumerate(arguments):
        if argument.startswith("-") or (position and arguments[position - 1] in with_value):
            rest.append(argument)
            continue
        words.append(argument)
        if argument not in two_words or len(words) == 2:
            return tuple(words), rest + list(arguments[position + 1 :])
    return tuple(words), rest


def _verb(words: tuple[str, ...]) -> Verb:
    name = " ".join(words)
    for verb in VERBS:
        if verb.name == name:
            return verb
    members = [verb.name for verb in VERBS if verb.name.startswith(words[0] + " ")]
    if members and len(words) < 2:
        known = ", ".join(member.split()[1] for member in members)
        raise InputError(f"{name} wants to know what to do", hint=f"one of: {known}; see: atoll {members[0]} --help")

    from difflib import get_close_matches

    near = get_close_matches(name, members or [verb.name for verb in VERBS], n=1)
    raise InputError(f"no such verb: {name}", hint=f"did you mean: atoll {near[0]}" if near else "see: atoll --help")


def _parser(verb: Verb, *, width: int | None = None) -> _Parser:
    """Return the parser of a verb; ``width`` is that of its help, None the terminal's."""
    parser = _Parser(
        prog=f"atoll {verb.name}",
        description=verb.summary[0].upper() + verb.summary[1:] + ".",
        formatter_class=partial(argparse.HelpFormatter, width=width),
        allow_abbrev=False,
    )
    for argument in (*verb.arguments, *COMMON):
        parser.add_argument(*argument.names, **argument.keywords())
    if any((argument.metavar or "").startswith("SPEC") for argument in verb.arguments):
        parser.after = _CLUSTER_FILE
    return parser


def _overview() -> str:
    from atoll.report.layout import within
    from atoll.report.style import columns_of

    with within(columns_of(sys.stdout)):
        return "\n".join(_overview_lines()) + "\n"


def _overview_lines() -> list[str]:
    from atoll.report.layout import wrap

    heads = [
        f"  {', '.join(argument.names)}"
        + (f" {argument.metavar or argument.names[0].strip('-').upper()}" if argument.takes_value else "")
        for argument in COMMON
    ]
    margin = max(len(head) for head in (*heads, *(f"  {verb.name}" for verb in VERBS))) + 2
    verbs = []
    for verb in VERBS:
        verbs += wrap(verb.summary, first=f"  {verb.name}".ljust(margin))
    options = []
    for argument, head in zip(COMMON, heads, strict=True):
        options += wrap(argument.help, first=f"{head:<{margin}}", rest=" " * margin)
    return [
        "usage: atoll [VERB] [--host HOST] [--policy POLICY] [--json] [-v] …",
        "",
        "Interconnect isolation for PCI devices and accelerators on Linux.",
        "",
        f"verbs (atoll alone is atoll {VERBS[0].name}; atoll VERB --help tells more):",
        *verbs,
        "",
        "options of every verb:",
        *options,
        "",
        *wrap(
            "exit codes: 0 done or proven; 1 refuted, different or only partly achievable; 2 wrong use or unreadable "
            "input; 3 unknown, facts missing; 4 refused for safety; 5 failed and rolled back",
            rest="",
        ),
    ]
