"""Targets of fuzzing: what they begin with and what was kept is read without a failure, and the engines find one."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from random import Random

import pytest

from atoll.errors import InputError
from atoll.host.links.xml import parse_xml
from fuzz import worker
from fuzz.__main__ import main
from fuzz.mutation import Explorer, TooSlow, limited, mutate
from fuzz.target import CORPUS, Target
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_read(name: str) -> None:
    """Whatever a fuzzer kept, and a few changes of what it begins with."""
    target = TARGETS[name]
    seeds = [data[: target.longest] for data in target.seeds()]
    rng = Random(name)
    for data in (
        *target.kept(),
        *seeds[:4],
        *(mutate(rng, seeds or [b""], target.words, target.longest) for _ in range(4)),
    ):
        target(data)


def test_the_corpus_is_small_and_of_targets() -> None:
    folders = {path.name for path in CORPUS.iterdir()}
    assert folders <= set(TARGETS)
    assert all(path.stat().st_size <= 1 << 14 for path in CORPUS.glob("*/*"))


def test_some_seed_of_each_target_is_accepted() -> None:
    """A target that refuses all that it begins with tests nothing but its first line."""
    refusing = [
        name
        for name, target in TARGETS.items()
        if not any(target(data[: target.longest]) for data in list(target.seeds())[:8] or [b""])
    ]
    # Without pylibfdt no device tree blob is read.
    assert set(refusing) <= {"device-tree"}


def test_lines_lead_to_a_failure_that_chance_would_not_find() -> None:
    """Each of four bytes is a line further on: an input that gets further is kept and changed again."""

    def read(data: bytes) -> None:
        root = parse_xml(data, name="fuzz")
        if root.tag == "nest":
            raise ZeroDivisionError

    target = Target("xml", read, lambda: (b"<best/>",), (b"<nest", b"/>"))
    explorer = Explorer(target, Random(1))
    explorer.run(b"<best/>")

    def search() -> None:
        for _ in range(20000):
            explorer.run(explorer.next())

    with pytest.raises(ZeroDivisionError):
        search()
    assert len(explorer.kept) > 1


def test_what_a_target_documents_is_no_failure() -> None:
    def read(data: bytes) -> None:
        raise InputError("no")

    assert not Target("t", read, lambda: ())(b"")


def test_an_input_that_takes_too_long_is_a_failure() -> None:
    def read(data: bytes) -> None:
        while True:
            pass

    target = Target("t", read, lambda: ())
    with limited(seconds=1, mebibytes=512) as clock:
        clock()
        with pytest.raises(TooSlow):
            target(b"")


def test_an_input_that_takes_too_much_memory_is_a_failure() -> None:
    with limited(seconds=10, mebibytes=64), pytest.raises(MemoryError):
        Target("t", lambda data: bytearray(256 << 20), lambda: ())(b"")


def test_unknown_targets_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["none"]) == 2
    assert "no such target" in capsys.readouterr().err


def test_more_to_begin_with_than_there_is_time_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time goes to changes of what it has begun with, however much that is."""
    inputs: list[bytes] = []
    seeds = {b"%d" % number for number in range(400)}
    monkeypatch.setitem(TARGETS, "t", Target("t", inputs.append, lambda: seeds))
    clock = count(step=0.01)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert worker.main("mutation", "t", 1, tmp_path) == 0
    assert len(inputs) == 100
    assert len(seeds.intersection(inputs[:50])) == 50
    assert not seeds.issuperset(inputs[50:])


def test_the_engine_of_our_own_runs_without_another(tmp_path: Path) -> None:
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.worker", "mutation", "vfio-chain", "1", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert "number_of_executed_units" in done.stderr
    assert len(list((tmp_path / "inputs").iterdir())) > 3
