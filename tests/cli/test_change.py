"""apply, release and demo: what they do to a twin, and that they do nothing to what is only read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import CAPTURES, Run

GPUS = ("0004:04:00.0", "0004:05:00.0", "0035:03:00.0", "0035:04:00.0")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write(tmp_path, "held")


def write(folder: Path, handover: str) -> Path:
    path = folder / f"{handover}.toml"
    path.write_text(
        f"[cluster.red]\ndevices = ['gpu[0]']\nhandover = '{handover}'\n"
        f"[cluster.blue]\ndevices = ['gpu[1:4]']\nhandover = '{handover}'\n"
    )
    return path


def test_applied_it_is_proven_and_attacks_fail(run: Run, ac922: Path, spec: Path) -> None:
    ran = run("apply", spec, "--host", ac922, "--json")
    assert ran.code == 0
    assert (ran.json["verdict"], ran.json["handed_over"]["verdict"]) == ("proven", "proven")
    assert {deed["kind"] for deed in ran.json["done"]} >= {"quiesce", "bind", "cut-links", "verify"}
    assert run("prove", spec, "--host", ac922).code == 0
    for target in GPUS[1:]:
        assert run("twin", "attack", ac922, GPUS[0], target, "--json").json["reached"] is False
    assert run("twin", "attack", ac922, GPUS[2], GPUS[3], "--json").json["reached"] is True
    functions = {f["address"]: f for f in run("show", "--host", ac922, "--json").json["functions"]}
    assert [link["cut"] for link in functions[GPUS[0]]["links"]] == [True, False, True, False, True, False]
    assert functions[GPUS[2]]["links"][0]["cut"] is False


def test_what_the_file_asks_to_survive_is_told_where_it_alone_makes_the_verdict(
    run: Run, ac922: Path, spec: Path
) -> None:
    spec.write_text(spec.read_text() + "[policy]\nsurvive = { host = 1 }\n")
    for verb in ("apply", "prove"):
        ran = run(verb, spec, "--host", ac922)
        assert ran.code == 1
        assert "VIOLATED now" in ran.out
        assert "asks it to survive 1 of the host's events, and it does not" in ran.out
    ran = run("apply", spec, "--host", ac922, "--json")
    assert (ran.json["violations"], ran.json["unsurvived"]) == ([], ["host"])


def test_a_plan_that_was_made_on_a_record_tells_what_it_changes(
    run: Run, ac922: Path, spec: Path, tmp_path: Path
) -> None:
    plan, record = tmp_path / "plan.json", tmp_path / "record.tar.xz"
    assert run("capture", record, "--host", ac922).code == 0
    assert run("plan", spec, "--host", record, "-o", plan).code == 0
    for ran in (run("apply", plan, "--host", ac922, "--dry-run"), run("apply", plan, "--host", ac922)):
        assert ran.out.splitlines()[0].endswith("carried out on twin:ac922-4gpu")


def test_a_plan_is_applied(run: Run, ac922: Path, spec: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    assert run("plan", spec, "--host", ac922, "-o", plan).code == 0
    ran = run("apply", plan, "--host", ac922)
    assert ran.code == 0
    assert "PROVEN now" in ran.out


def test_dry_run_changes_nothing(run: Run, ac922: Path, spec: Path) -> None:
    before = ac922.read_bytes()
    ran = run("apply", spec, "--dry-run", "--host", ac922, "--json")
    assert ran.code == 0
    assert ran.json["dry_run"] is True
    assert ran.json["done"]
    assert ran.json["verdict"] is None
    assert json.loads(ac922.read_bytes()) == json.loads(before)
    assert "Nothing was changed" in run("apply", spec, "--dry-run", "--host", ac922).out


def test_resets_open_and_a_second_apply_closes(run: Run, ac922: Path, spec: Path) -> None:
    run("apply", spec, "--host", ac922)
    run("twin", "reset", ac922, GPUS[0], "--method", "bus")
    assert run("prove", spec, "--host", ac922).code == 0
    run("twin", "reset", ac922, GPUS[1], "--method", "bus")
    assert run("prove", spec, "--host", ac922).code == 1
    assert run("apply", spec, "--host", ac922).code == 0
    assert run("prove", spec, "--host", ac922).code == 0


def test_stock_vfio_is_only_partly_achieved(run: Run, ac922: Path, tmp_path: Path) -> None:
    spec = write(tmp_path, "vfio")
    ran = run("apply", spec, "--host", ac922, "--json")
    assert ran.code == 1
    assert (ran.json["verdict"], ran.json["handed_over"]["verdict"]) == ("proven", "violated")
    assert run("twin", "event", ac922, "vm-start", GPUS[0]).code == 0
    assert run("twin", "event", ac922, "vm-start", *GPUS[1:]).code == 0
    assert run("prove", spec, "--host", ac922).code == 1
    assert run("twin", "attack", ac922, GPUS[0], GPUS[1], "--json").json["reached"] is True


def test_release(run: Run, ac922: Path, spec: Path) -> None:
    def drivers() -> dict[str, str]:
        return {f["address"]: f["driver"] for f in run("show", "--host", ac922, "--json").json["functions"]}

    before = drivers()
    run("apply", spec, "--host", ac922)
    assert drivers()[GPUS[0]] == "vfio-pci"
    ran = run("release", spec, "--host", ac922, "--json")
    assert ran.code == 0
    assert ran.json["done"]
    assert drivers() == before
    again = run("release", spec, "--host", ac922)
    assert again.code == 0
    assert "Nothing to do" in again.out


@pytest.mark.parametrize("verb", ["apply", "release"])
def test_a_record_is_not_changed(run: Run, spec: Path, verb: str) -> None:
    ran = run(verb, spec, "--host", CAPTURES[0])
    assert (ran.code, ran.out) == (4, "")
    assert len(ran.err.splitlines()) == 2


def test_demo(run: Run) -> None:
    ran = run("demo")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= 100
    assert "agreed at every stage" in ran.out
    assert ran.out.count("atoll says:") == ran.out.count("attacks say:") >= 6
    stages = run("demo", "--json").json["stages"]
    assert [stage["verdict"] for stage in stages] == [
        "violated",
        "proven",
        "violated",
        "proven",
        "proven",
        "violated",
        "proven",
    ]
    assert all(stage["agrees"] for stage in stages)


def test_a_demo_that_disagrees_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from atoll.report.demo import Stage

    monkeypatch.setattr(Stage, "agrees", property(lambda stage: stage.title != "Recovered"))
    ran = run("demo")
    assert ran.code == 1
    assert "DISAGREED" in ran.out
