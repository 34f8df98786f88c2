"""A scenario's report, the command line, and what becomes of results."""

from __future__ import annotations

import json
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lab.__main__ import INTERRUPTED, main
from lab.boot import Boot, Result
from lab.errors import LabError
from lab.report import Check, Report, Setting
from lab.results import Results
from lab.scenarios import SCENARIOS, guest_scripts, powernv, run_scenario, smoke


def test_without_checks_nothing_was_shown() -> None:
    good, bad = Check("6.1", "it holds", ok=True), Check("6.1", "it holds", ok=False, detail="it did not")
    assert not Report(()).ok
    assert Report((good,)).ok
    assert not Report((good, bad)).ok


def test_every_scenario_has_a_module_with_run(tmp_path: Path) -> None:
    from importlib import import_module

    for name in SCENARIOS:
        assert callable(import_module(f"lab.scenarios.{name}").run)
    with pytest.raises(LabError) as caught:
        run_scenario("no-such", Setting(("6.1",), tmp_path))
    assert "smoke" in caught.value.hint


def test_guest_scripts_are_python_beside_what_they_need() -> None:
    found = guest_scripts("smoke", "verbs", "plug")
    assert sorted(found) == ["scenario/main.py", "scenario/plug.py", "scenario/verbs.py"]
    for path, text in found.items():
        compile(text, path, "exec")
    assert b"from verbs import" in found["scenario/main.py"]


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report((Check("6.1", "it holds", ok=True),)), 0),
        (Report((Check("6.1", "it holds", ok=False, detail="no"),)), 1),
        (LabError("no kernel", "fetch one"), 3),
    ],
)
def test_results_are_written_and_tell(
    report: Report | LabError, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(setting: Setting) -> Report:
        assert setting.kernels == ("6.12",)
        if isinstance(report, LabError):
            raise report
        return report

    monkeypatch.setattr(smoke, "run", run)
    output, folder = tmp_path / "results.json", tmp_path / "runs"
    assert main(["run", "smoke", "--kernel", "6.12", "-o", str(output), "--folder", str(folder)]) == code
    document = json.loads(output.read_text())
    assert document["schema"] == "atoll.lab/1"
    assert document["ok"] is document["scenarios"]["smoke"]["ok"] is (code == 0)
    assert document["ended"]


def test_a_run_that_is_stopped_has_told_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(setting: Setting) -> Report:
        return Report((Check("6.1", "it holds", ok=True),))

    def stopped(setting: Setting) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(smoke, "run", run)
    monkeypatch.setattr(powernv, "run", stopped)
    output = tmp_path / "results.json"
    words = ["run", "smoke", "powernv", "--kernel", "6.1", "-o", str(output), "--folder", str(tmp_path / "runs")]
    assert main(words) == INTERRUPTED
    document = json.loads(output.read_text())
    assert document["scenarios"]["smoke"]["ok"]
    assert not document["ok"]
    assert not document["ended"]


def test_a_scenario_that_is_stopped_has_told_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(setting: Setting) -> Report:
        (kernel,) = setting.kernels
        good = Report((Check(kernel, "it holds", ok=True),), {kernel: 1})
        if kernel == "6.1":
            return good
        setting.so_far(kernel, good)
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.scenarios.hold.run", run)
    output = tmp_path / "results.json"
    words = ["run", "hold", "smoke", "--kernel", "6.1", "--kernel", "7", "-o", str(output), "--folder", str(tmp_path)]
    assert main(words) == INTERRUPTED
    document = json.loads(output.read_text())
    assert not document["ok"]
    assert not document["ended"]
    assert document["not run"] == ["smoke"]
    result = document["scenarios"]["hold"]
    assert not result["ok"]
    assert not result["ended"]
    assert [check["kernel"] for check in result["checks"]] == ["6.1", "7"]
    assert list(result["facts"]) == ["6.1", "7"]


@pytest.mark.parametrize("first", ["6.1-powernv", "6.12-powernv"])
def test_a_kernel_that_cannot_be_had_takes_nothing_from_the_others(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = list(SCENARIOS["powernv"].kernels)
    kernels.sort(key=lambda kernel: kernel != first)

    def boot_one(run: Boot, *, folder: Path) -> Result:
        if run.kernel == "6.12-powernv":
            raise LabError("https://mirror.example/linux-image.deb: 404", "Try again later.", folder=folder)
        return Result(False, {"error": "found out"}, {}, "", 1.0, folder)

    monkeypatch.setattr(powernv, "boot", boot_one)
    output = tmp_path / "results.json"
    chosen = [word for kernel in kernels for word in ("--kernel", kernel)]
    assert main(["run", "powernv", *chosen, "-o", str(output), "--folder", str(tmp_path)]) == 3
    result = json.loads(output.read_text())["scenarios"]["powernv"]
    assert [(check["kernel"], check["detail"]) for check in result["checks"]] == [("6.1-powernv", "found out")]
    assert list(result["facts"]) == ["6.1-powernv"]
    assert list(result["failed"]) == ["6.12-powernv"]
    assert "404" in result["failed"]["6.12-powernv"]["error"]
    assert not result["ok"]
    said = capsys.readouterr().out
    assert "FAIL powernv 6.12-powernv: the lab itself failed: https://mirror.example/linux-image.deb: 404" in said
    assert "Try again later." in said


def test_a_failure_of_the_lab_makes_good_checks_no_success() -> None:
    good = Check("6.1", "it holds", ok=True)
    report = Report((good,), failed={"6.12": LabError("404")})
    assert not report.ok
    assert report.exit_code == 3


@pytest.mark.parametrize("arguments", [["run", "no-such"], ["fetch", "no-such"]])
def test_a_name_that_is_not_there(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "no-such" in said[0]


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in SCENARIOS)
    assert "kernel-iommufd" in said


@pytest.mark.parametrize(("name", "at_once"), [("smoke", 2), ("hold", 1)])
def test_kernels_two_at_a_time_unless_times_are_measured(
    name: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, running, most = threading.Lock(), 0, 0
    both = threading.Barrier(2)

    def run(setting: Setting) -> Report:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # Who is alone waits in vain, and whoever ran beside it would have come.
        with suppress(threading.BrokenBarrierError):
            both.wait(10 if at_once == 2 else 0.5)
        with lock:
            running -= 1
        (kernel,) = setting.kernels
        return Report((Check(kernel, "it ran", ok=True),), {kernel: 1})

    monkeypatch.setattr(f"lab.scenarios.{name}.run", run)
    report = run_scenario(name, Setting(("6.1", "6.12", "7", "iommufd"), tmp_path))
    assert most == at_once
    assert [check.kernel for check in report.checks] == ["6.1", "6.12", "7", "iommufd"]
    assert list(report.facts) == ["6.1", "6.12", "7", "iommufd"]


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    place = tmp_path / "results.json"
    with closing(Results(place, ["smoke"])) as first, closing(Results(place, ["hold"])) as second:
        first.begins("smoke")
        with pytest.raises(LabError, match="another run of the lab writes it"):
            second.begins("hold")
        first.ended("smoke", Report(()), 1.0)
        with pytest.raises(LabError, match="another run of the lab writes it"):
            second.begins("hold")
        first.close()
        second.begins("hold")
    assert list(json.loads(place.read_text())["scenarios"]) == ["hold"]


def test_a_place_for_results_that_is_none(tmp_path: Path) -> None:
    for place in (tmp_path / "none" / "results.json", tmp_path):
        with pytest.raises(LabError) as caught:
            Results(place, ["smoke"]).begins("smoke")
        assert caught.value.message.startswith(f"{place}: ")


def test_what_the_system_refuses_a_scenario_is_the_labs_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(setting: Setting) -> Report:
        raise OSError(28, "No space left on device", "/full/initrd")

    monkeypatch.setattr(smoke, "run", run)
    report = run_scenario("smoke", Setting(kernels=("6.1",), folder=tmp_path))
    assert report.failed["6.1"].message == "/full/initrd: No space left on device"
    assert "Make room" in report.failed["6.1"].hint
