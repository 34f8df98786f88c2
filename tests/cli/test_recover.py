"""recover: what it says and returns, and that nothing else works before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from act_bench import BLUE, RED, SPEC, planned
from deaths import Death, deaths
from running import Run

from atoll.act.executor import execute
from atoll.act.machine import Machine
from atoll.twin import Twin


def apply(machine: Machine) -> None:
    host, made = planned(machine)
    execute(machine, host, made)


@pytest.fixture(scope="module")
def death() -> Death:
    """An apply that died when both GPUs were open, and one of them cut."""
    found = deaths(Twin.new("ac922-4gpu"), {}, apply)
    return next(death for death in found if death.what == f"after {BLUE} open" or "BAR0" in death.what)


@pytest.fixture
def dead(death: Death, tmp_path: Path) -> Path:
    path = tmp_path / "dead.twin"
    death.twin.save(path)
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def test_nothing_to_recover_is_said(run: Run, ac922: Path) -> None:
    before = ac922.read_bytes()
    ran = run("recover", "--host", ac922)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "Nothing to recover on twin:ac922-4gpu\n"
    assert run("recover", "--host", ac922, "--json").json["runs"] == []
    assert ac922.read_bytes() == before


@pytest.mark.parametrize("verb", ["apply", "release"])
def test_all_else_is_refused_before(run: Run, dead: Path, spec: Path, verb: str) -> None:
    before = dead.read_bytes()
    for more in ((), ("--dry-run",)):
        ran = run(verb, spec, "--host", dead, *more)
        assert (ran.code, ran.out) == (4, "")
        first, hint = ran.err.splitlines()
        assert "an earlier run died on twin:ac922-4gpu: apply (process " in first
        assert hint == "  run atoll recover"
    assert dead.read_bytes() == before


def test_it_is_rolled_back_once(run: Run, dead: Path, spec: Path) -> None:
    ran = run("recover", "--host", dead)
    assert ran.code == 0
    assert "apply of " in ran.out
    assert ": rolled back\n" in ran.out
    assert "No tenant has a device of these clusters open." in ran.out
    assert run("recover", "--host", dead).out.startswith("Nothing to recover")
    assert run("apply", spec, "--host", dead).code == 0
    assert run("release", spec, "--host", dead).code == 0


def test_a_dry_run_changes_nothing(run: Run, dead: Path) -> None:
    before = Twin.load(dead).own_files
    ran = run("recover", "--dry-run", "--host", dead)
    assert ran.code == 0
    assert "would be rolled back" in ran.out
    assert "Nothing was changed." in ran.out
    assert Twin.load(dead).own_files == before


def test_the_document(run: Run, dead: Path) -> None:
    found = run("recover", "--host", dead, "--json").json
    assert found["schema"] == "atoll.recover/1"
    (one,) = found["runs"]
    assert (one["verb"], one["fate"], one["left"]) == ("apply", "rolled-back", [])
    assert str(RED) in {deed["device"] for deed in one["done"]}
    assert found["verdict"] is None


def test_after_a_restart_there_is_nothing_to_undo(run: Run, dead: Path, spec: Path) -> None:
    assert run("twin", "event", dead, "reboot").code == 0
    assert run("apply", spec, "--host", dead).code == 4
    found = run("recover", "--host", dead, "--json")
    assert found.code == 0
    assert [one["fate"] for one in found.json["runs"]] == ["restarted"]
    assert [one["done"] for one in found.json["runs"]] == [[]]
    assert "nothing to release" in run("release", spec, "--host", dead).out
    assert run("apply", spec, "--host", dead).code == 0


def test_writes_are_shown_when_asked_for(run: Run, ac922: Path, spec: Path) -> None:
    ran = run("apply", spec, "--host", ac922)
    assert ran.err == ""
    run("release", spec, "--host", ac922)
    ran = run("apply", spec, "--host", ac922, "--verbose")
    assert ran.code == 0
    lines = ran.err.splitlines()
    assert all(line.startswith("atoll.act: write=") for line in lines)
    assert any(f"write={RED}_BAR0" in line and "step=s" in line and "reason=" in line for line in lines)


def test_what_is_only_read_is_not_recovered(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    ran = run("recover", "--host", tmp_path)
    assert (ran.code, ran.out) == (4, "")
