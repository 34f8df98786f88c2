"""Documents have the fields that docs/json.md tells, no more and no fewer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from running import CAPTURES, Run

_TOLD = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
_HOST = "twin:ac922-4gpu"
_GPUS = ("0004:04:00.0", "0004:05:00.0")


def _section(title: str) -> str:
    return _TOLD.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _fields(table: str) -> set[str]:
    """The names in the first column of tables."""
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {re.sub(r"(\[\]|\.\*)$", "", name) for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def _named(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)(?:\[\]|\.\*)?`", text))


def _row(text: str, field: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("| `") and f"`{field}" in line.split("|")[1])


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text('[cluster.red]\ndevices = ["gpu[0]"]\nhandover = "held"\n')
    return path


@pytest.mark.parametrize("verb", ["groups", "atoms", "doctor"])
def test_of_a_host(run: Run, verb: str) -> None:
    document = run(verb, "--host", _HOST, "--json").json
    assert next(iter(document)) == "schema"
    assert document.keys() - {"schema"} == _fields(_section(verb))


def test_groups_have_the_numbers_that_the_kernel_gave_them(run: Run) -> None:
    for host in CAPTURES[:3]:
        shown = {group["number"]: group["members"] for group in run("show", "--host", host, "--json").json["groups"]}
        found = run("groups", "--host", host, "--json").json
        assert dict(zip(found["numbers"], found["recorded"], strict=True)) == shown
    assert run("groups", "--host", "twin:random-1", "--json").json.keys() >= {"numbers"}


def test_a_difference_that_lacking_facts_decide_is_told_as_such(run: Run, tmp_path: Path) -> None:
    """What stands above the second function is not shown."""
    post = tmp_path / "post.txt"
    names = ("00:01.0 PCI bridge [0604]: A [8086:1901]", "01:00.0 VGA compatible controller [0300]: B [10de:1b80]")
    post.write_text("IOMMU Group 1:\n\t" + "\n\t".join(names) + "\n")
    ran = run("groups", "--host", post, "--json")
    assert [told["certain"] for told in ran.json["differences"]] == [False, False]
    assert ran.code == 3


def test_show(run: Run) -> None:
    host, function = _section("show").split("Each of `functions[]`:")
    document = run("show", "--host", _HOST, "--json").json
    assert document.keys() - {"schema"} == _fields(host)
    assert document["functions"][0].keys() == _fields(function)
    for entry in document["functions"]:
        for field in ("acs", "subsystem"):
            assert (entry[field] or {}).keys() <= _named(_row(function, field))
        assert {name for link in entry["links"] for name in link} <= _named(_row(function, "links"))
        assert all(bar.keys() == _named(_row(function, "bars")) - {"bars", "null"} for bar in entry["bars"] or ())


def test_explain(run: Run) -> None:
    one, two = _section("explain").split("\nOf two:\n")
    document = run("explain", _GPUS[0], "--host", _HOST, "--json").json
    assert document.keys() - {"schema"} == _fields(one)
    assert document["grouping"].keys() <= _named(_row(one, "grouping"))
    assert document["neighbours"][0].keys() == _named(_row(one, "neighbours")) - {"neighbours"}
    document = run("explain", *_GPUS, "--host", _HOST, "--json").json
    assert document.keys() - {"schema"} == _fields(two)
    assert document["answers"][0].keys() <= _named(_row(two, "answers"))
    assert document["remedies"][0].keys() == _named(_row(two, "remedies")) - {"remedies"}


@pytest.mark.parametrize("verb", ["prove", "plan", "iova"])
def test_of_clusters(run: Run, spec: Path, verb: str) -> None:
    told = _section(verb)
    document: dict[str, Any] = run(verb, spec, "--host", _HOST, "--json").json
    assert document.keys() - {"schema"} == _fields(told)
    for field in ("violations", "steps", "clusters"):
        entries = document.get(field, [])
        for entry in entries.values() if isinstance(entries, dict) else entries:
            assert entry.keys() <= _named(_row(told, field)), field


@pytest.mark.parametrize("verb", ["apply", "release", "recover"])
def test_of_changes(run: Run, spec: Path, verb: str) -> None:
    document = run(verb, *([] if verb == "recover" else [spec]), "--host", _HOST, "--json").json
    row = _row(_section("apply, hold, release, recover, capture"), verb)
    assert document.keys() - {"schema"} <= _named(row)


@pytest.mark.parametrize("verb", ["apply", "hold"])
@pytest.mark.parametrize("dry", [True, False])
def test_what_is_not_begun_tells_its_verb_and_whether_it_was_to_be(
    run: Run, tmp_path: Path, verb: str, dry: bool
) -> None:
    spec = tmp_path / "impossible.toml"
    spec.write_text(
        "".join(
            f'[cluster.{n}]\ndevices = ["{a}"]\nhandover = "held"\n' for n, a in (("a", "03:00.0"), ("b", "03:00.1"))
        )
    )
    ran = run(verb, spec, "--host", "twin:random-3", "--json", *(["--dry-run"] if dry else []))
    document = ran.json
    assert (ran.code, bool(document["impossible"]), document["done"]) == (1, True, [])
    assert (document["schema"], document["dry_run"]) == (f"atoll.{verb}/1", dry)
    assert document.keys() >= ({"holding"} if verb == "hold" else set())


@pytest.mark.parametrize(
    ("verb", "rest"),
    [
        ("list", []),
        ("new", ["ac922-4gpu", "FILE"]),
        ("reset", ["FILE", _GPUS[0]]),
        ("event", ["FILE", "suspend"]),
        ("attack", ["FILE", *_GPUS]),
        ("peek", ["FILE", _GPUS[0], "--config", "0"]),
        ("poke", ["FILE", _GPUS[0], "--config", "4=6"]),
    ],
)
def test_of_twins(run: Run, ac922: Path, verb: str, rest: list[str]) -> None:
    document = run("twin", verb, *(ac922 if word == "FILE" else word for word in rest), "--json").json
    row = _row(_section("twin, demo"), f"twin {verb}") if verb != "poke" else _row(_section("twin, demo"), "twin peek")
    told = _named(row.split("|")[2]) - {"config", "bar0"} - ({"poke", "written"} if verb == "peek" else {"poke"})
    entries = {name for entry in document.get("machines", document.get("attempts", [])) for name in entry}
    assert (document.keys() | entries) - {"schema"} == told


def test_of_the_demo(run: Run) -> None:
    document = run("demo", "--json").json
    stages = document["stages"]
    found = {*document, *(n for s in stages for n in s), *(n for s in stages for a in s["attacks"] for n in a)}
    assert found - {"schema"} == _named(_row(_section("twin, demo"), "demo").split("|")[2])
