"""Fuzz the targets: ``python -m fuzz [TARGET...]``, or ``make fuzz``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from fuzz.target import CORPUS, FOUND

_STARTING = 300
"""Seconds that a target may take to start and to end, beside its time."""
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fuzzing a target came to."""

    target: str
    runs: int
    failure: Path | None
    """The input that made it fail."""
    log: str
    broken: bool = False
    """The fuzzer itself did not work."""


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz, print a line for each target; return 1 where one failed."""
    options = _options(argv)
    from fuzz.targets import TARGETS

    if options.list:
        print("\n".join(TARGETS))
        return 0
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        print(f"fuzz: no such target: {', '.join(unknown)}\n  see: python -m fuzz --list", file=sys.stderr)
        return 2
    if options.replay is not None:
        # Whatever the target must not raise is shown as it is.
        for name in options.targets:
            accepted = TARGETS[name](options.replay.read_bytes())
            print(f"{name}: {'accepted' if accepted else 'refused'}")
        return 0
    engine = options.engine or ("atheris" if find_spec("atheris") is not None else "mutation")
    if engine == "mutation" and not options.engine:
        print("fuzz: no atheris here (pip install 'atoll[fuzz]'): the slower engine of our own is used")
    names = options.targets or list(TARGETS)
    with ThreadPoolExecutor(options.jobs) as pool:
        work = partial(_fuzz, engine=engine, seconds=options.seconds, keep=options.keep)
        failed = 0
        for outcome in pool.map(work, names):
            _show(outcome)
            failed += outcome.failure is not None or outcome.broken
    return 1 if failed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("targets", metavar="TARGET", nargs="*", help="what to fuzz (the default: everything)")
    parser.add_argument("--list", action="store_true", help="print the targets")
    parser.add_argument("--seconds", type=int, default=10, help="how long each is fuzzed (the default: 10)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--engine", choices=("atheris", "mutation"), help="atheris where it is installed, else our own")
    parser.add_argument("--keep", type=int, default=0, metavar="N", help="add up to N small new inputs to the corpus")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the targets on one input")
    options = parser.parse_args(argv)
    if options.seconds < 1 or options.jobs < 1 or options.keep < 0:
        parser.error("--seconds and --jobs are 1 or more")
    if options.replay is not None and not options.targets:
        parser.error("--replay wants to know which targets")
    return options


def _fuzz(name: str, *, engine: str, seconds: int, keep: int) -> Outcome:
    paths = os.pathsep.join((str(_ROOT / "src"), str(_ROOT), os.environ.get("PYTHONPATH", "")))
    with tempfile.TemporaryDirectory(prefix="atoll-fuzz-") as folder:
        command = [sys.executable, "-m", "fuzz.worker", engine, name, str(seconds), folder]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + _STARTING,
                check=False,
                env={**os.environ, "PYTHONPATH": paths},
            )
        except subprocess.TimeoutExpired as error:
            return Outcome(name, 0, None, f"it did not end: {error}", broken=True)
        log = done.stdout + done.stderr
        failures = sorted(Path(folder).glob("failed-*"))
        if failures:
            place = FOUND / name
            place.mkdir(parents=True, exist_ok=True)
            failure = place / failures[0].name.removeprefix("failed-")
            failure.write_bytes(failures[0].read_bytes())
            return Outcome(name, _runs(log), failure, log)
        if keep and not done.returncode:
            _keep(name, Path(folder) / "inputs", keep)
        return Outcome(name, _runs(log), None, log, broken=bool(done.returncode))


def _runs(log: str) -> int:
    lines = [line for line in log.splitlines() if line.startswith("stat::number_of_executed_units:")]
    return int(lines[-1].rpartition(" ")[2]) if lines else 0


def _keep(name: str, inputs: Path, most: int) -> None:
    """Take over the smallest of the inputs that together reach what all of them do, one after the other."""
    from random import Random

    from fuzz.mutation import Explorer
    from fuzz.targets import TARGETS

    target = TARGETS[name]
    explorer = Explorer(target, Random(0))
    for data in (*target.kept(), *target.seeds()):
        explorer.run(data[: target.longest])
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(inputs.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        data = path.read_bytes()
        if most and len(data) <= _LONGEST_KEPT and explorer.run(data):
            (folder / path.name[:16]).write_bytes(data)
            most -= 1


_LONGEST_KEPT = 4096


def _show(outcome: Outcome) -> None:
    if outcome.failure is None and not outcome.broken:
        print(f"{outcome.target:20} {outcome.runs:>9} inputs, none failed", flush=True)
        return
    print(f"{outcome.target:20} {outcome.runs:>9} inputs, FAILED: {outcome.failure or 'the fuzzer did not work'}")
    print("\n".join(f"    {line[:200]}" for line in outcome.log.splitlines()[-25:]), flush=True)
    if outcome.failure is not None:
        print(f"    again: python -m fuzz {outcome.target} --replay {outcome.failure}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
