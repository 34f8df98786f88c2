"""One target in a process of its own: ``python -m fuzz.worker ENGINE TARGET SECONDS FOLDER``.

``FOLDER/inputs`` gets what was found worth keeping, ``FOLDER/failed-…`` what made the target fail (exit code 77).
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from hashlib import sha1
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

SECONDS_EACH = 30
"""On the clock: a machine that does much else slows an input down, and none takes a second by itself."""
MEBIBYTES = 1024
FAILED = 77


def main(engine: str, name: str, seconds: int, folder: Path) -> int:
    """Fuzz for so many seconds; return the exit code."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    return (_guided if engine == "atheris" else _mutated)(name, seconds, folder)


def _prepare(name: str, inputs: Path) -> None:
    from fuzz.targets import TARGETS

    target = TARGETS[name]
    for data in (*target.kept(), *target.seeds()):
        _keep(inputs, data[: target.longest])


def _keep(folder: Path, data: bytes, prefix: str = "") -> Path:
    path = folder / (prefix + sha1(data, usedforsecurity=False).hexdigest())
    path.write_bytes(data)
    return path


def _guided(name: str, seconds: int, folder: Path) -> int:
    atheris: Any = import_module("atheris")
    with ExitStack() as stack:
        # What verbs import late is instrumented too.
        stack.enter_context(atheris.instrument_imports(include=["atoll"], enable_loader_override=False))
        from fuzz.targets import TARGETS

        target = TARGETS[name]
        _prepare(name, folder / "inputs")
        words = folder / "words"
        words.write_text("".join(f'"{_escaped(word[:120])}"\n' for word in target.words))
        options = [
            *(f"-max_total_time={seconds}", f"-timeout={SECONDS_EACH}", f"-rss_limit_mb={MEBIBYTES + 512}"),
            *(f"-max_len={target.longest}", f"-artifact_prefix={folder}/failed-", "-print_final_stats=1"),
            f"-report_slow_units={SECONDS_EACH}",
            *(f"-dict={words}", "-use_value_profile=1", str(folder / "inputs")),
        ]

        def one(data: bytes) -> None:
            target(data)

        # What a verb imports late is instrumented here, and not in the time of an input.
        for data in (b"", *islice(target.seeds(), 1)):
            target(data[: target.longest])
        atheris.Setup([name, *options], one)
        atheris.Fuzz()
    return 0


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _mutated(name: str, seconds: int, folder: Path) -> int:
    import time
    from random import Random

    from fuzz.mutation import Explorer, TooSlow, limited
    from fuzz.targets import TARGETS

    target = TARGETS[name]
    inputs = folder / "inputs"
    _prepare(name, inputs)
    random = Random(time.time_ns())
    explorer = Explorer(target, random)
    waiting = [path.read_bytes() for path in inputs.iterdir()]
    # Of what a target begins with there may be more than there is time for: each run takes others, for half of it.
    random.shuffle(waiting)
    start = time.monotonic()
    with limited(seconds=SECONDS_EACH, mebibytes=MEBIBYTES) as clock:
        passed = 0.0
        while passed < seconds:
            data = waiting.pop() if waiting and passed < seconds / 2 else explorer.next()
            clock()
            try:
                fresh = explorer.run(data)
            except (Exception, TooSlow):
                import traceback

                traceback.print_exc()
                print(f"failed: {_keep(folder, data, 'failed-')}", file=sys.stderr)
                return FAILED
            if fresh:
                _keep(inputs, data)
            passed = time.monotonic() - start
    print(f"stat::number_of_executed_units: {explorer.runs}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
