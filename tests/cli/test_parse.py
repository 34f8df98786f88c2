"""The table of verbs, and the parser that is made from it."""

from __future__ import annotations

import tomllib
from importlib import import_module

import pytest
from running import Run

from atoll.cli.parse import parse
from atoll.cli.verbs import VERBS, Verb


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_code_and_help(verb: Verb, run: Run) -> None:
    assert callable(import_module(f"atoll.cli.{verb.module}").run)
    ran = run(*verb.name.split(), "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"usage: atoll {verb.name}")


@pytest.mark.parametrize("verb", ["prove", "plan", "apply", "hold", "release", "iova", "show"])
def test_help_shows_what_a_cluster_file_is(verb: str, run: Run) -> None:
    _, found, rest = run(verb, "--help").out.partition("a cluster file names who owns what")
    assert bool(found) is (verb != "show")
    if found:
        shown = tomllib.loads(rest.partition("\n")[2])
        assert shown == {"cluster": {"red": {"devices": ["0000:41:00.0", "gpu[1]"], "handover": "held"}}}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_overview(run: Run, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.code == 0
    assert all(verb.name in ran.out for verb in VERBS)
    assert max(map(len, ran.out.splitlines())) <= 100
    # No option runs into what is said of it.
    assert "  --policy POLICY  how open" in ran.out


def test_help_tells_what_names_a_machine_and_a_register(run: Run) -> None:
    told = " ".join(run("show", "--help").out.split())
    assert "a text that lspci or another program printed (- is standard input)" in told
    assert "--config OFF " in run("twin", "peek", "--help").out
    assert "--config OFF=VALUE " in run("twin", "poke", "--help").out


def test_nothing_is_show() -> None:
    verb, options = parse([])
    assert verb is VERBS[0]
    assert (verb.name, options.host, options.policy, options.json) == ("show", ["live"], "strict", False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--host", "a", "--json", "groups", "--host", "b", "-v"],
        ["groups", "--host=a", "--host", "b", "--json", "--verbose"],
        ["--json", "-v", "--host", "a", "--host=b", "groups"],
    ],
)
def test_common_options_stand_anywhere(arguments: list[str]) -> None:
    verb, options = parse(arguments)
    assert verb is not None
    assert (verb.name, options.host, options.json, options.verbose) == ("groups", ["a", "b"], True, True)


def test_a_host_named_like_a_verb() -> None:
    verb, options = parse(["--host", "groups", "show"])
    assert verb is not None
    assert (verb.name, options.host) == ("show", ["groups"])


def test_two_words() -> None:
    verb, options = parse(["--json", "twin", "event", "f", "suspend"])
    assert verb is not None
    assert (verb.name, options.file, options.kind, options.devices) == ("twin event", "f", "suspend", [])


def test_version(run: Run) -> None:
    from atoll import __version__

    assert run("--version").out == f"atoll {__version__}\n"
