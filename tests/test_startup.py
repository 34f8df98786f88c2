"""Start-up is part of the interface."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

BUDGET_SECONDS = 0.060
"""What ``atoll --version`` may cost beyond a bare interpreter."""

HEAVY = {"argparse", "dataclasses", "inspect", "json", "typing", "tarfile", "subprocess", "atoll.host", "atoll.twin"}
"""What answering ``--version`` has no use for."""


def atoll() -> list[str]:
    script = Path(sys.executable).with_name("atoll")
    return [str(script)] if script.exists() else [sys.executable, "-m", "atoll"]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def test_version_answers_at_once() -> None:
    bare = [sys.executable, "-c", "pass"]
    seconds([*atoll(), "--version"]), seconds(bare)  # compiled and in the page cache
    beyond = 0.0
    for _ in range(3):  # other work on the machine only ever adds
        beyond = statistics.median(seconds([*atoll(), "--version"]) - seconds(bare) for _ in range(11))
        if beyond <= BUDGET_SECONDS:
            return
    raise AssertionError(
        f"{beyond * 1000:.0f} ms beyond a bare interpreter; see python -X importtime -m atoll --version"
    )


def test_version_imports_little() -> None:
    code = "import sys; from atoll.cli.main import main; main(['--version']); print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    assert run.stdout.startswith("atoll ")
    assert (set(run.stderr.split()) - set(bare.stdout.split())) & HEAVY == set()
