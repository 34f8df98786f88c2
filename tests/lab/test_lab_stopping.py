"""Whoever asks the lab to end is heard: by the threads that wait for emulators too, and in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A lab whose one scenario has an emulator that never ends.
LAB = """
import signal, subprocess, sys
from lab import __main__ as program, scenarios
from lab.report import Report
from lab.stopping import ends, listen

# Under nohup the tests ignore a hang-up, and so would what they start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def run(setting):
    with subprocess.Popen(["sleep", "1000"]) as process:
        print(process.pid, flush=True)
        try:
            ends(process)
        finally:
            process.kill()
    return Report(())

scenarios.import_module = lambda name: type("Module", (), {"run": staticmethod(run)})
# Whoever runs these tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
listen()
sys.exit(program.main(["run", "smoke", "gpu", "--kernel", "6.1", "-o", sys.argv[1]]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_waited_for_is_left_and_the_results_tell(number: signal.Signals, tmp_path: Path) -> None:
    place = tmp_path / "results.json"
    run = subprocess.Popen(
        [sys.executable, "-c", LAB, str(place)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "ATOLL_LAB_CACHE": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    assert run.stdout is not None
    emulator = int(run.stdout.readline())
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.splitlines()[-1].startswith(f"lab: interrupted: {place} tells what had ended")
    assert "Traceback" not in said
    assert not Path(f"/proc/{emulator}").exists()
    document = json.loads(place.read_text())
    assert (document["ok"], document["ended"], document["not run"]) == (False, False, ["gpu"])
    assert document["scenarios"]["smoke"]["ended"] is False
