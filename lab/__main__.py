"""``python -m lab``: run scenarios, list them, fetch what they need."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from lab.errors import LabError, told_of
from lab.fetch.bundles import BUNDLES, KERNELS
from lab.report import Report, Setting
from lab.results import Results
from lab.scenarios import SCENARIOS, run_scenario
from lab.stopping import listen

INTERRUPTED = 130
"""128 and SIGINT, as shells count."""


def main(arguments: list[str] | None = None) -> int:
    """0: every check holds; 1: one does not; 3: the lab itself failed; 130: interrupted."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except LabError as error:
        print(f"lab: {error.message}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        message, hint = told_of(error)
        print(f"lab: {message}\n{hint}", file=sys.stderr)
        return LabError.exit_code
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Real kernels in an emulator, to judge atoll.")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="run scenarios (all, unless named)")
    run.add_argument("names", nargs="*", metavar="NAME")
    run.add_argument("--kernel", action="append", choices=list(KERNELS), help="on this kernel; may be repeated")
    run.add_argument("--repeat", type=int, default=1, metavar="N", help="how often random machines are drawn")
    run.add_argument("--seed", type=int, default=0, help="where random machines, and points to be killed at, begin")
    run.add_argument("--seconds", type=float, metavar="N", help="when boots of the scenario kill end, done or not")
    run.add_argument("--folder", type=Path, help="what runs leave; unless named it is removed if all went well")
    run.add_argument("-o", "--output", type=Path, default=Path("lab-results.json"), help="default: %(default)s")
    run.set_defaults(command=_run)
    listing = commands.add_parser("list", help="list scenarios, kernels, and parts that can be fetched")
    listing.set_defaults(command=_list)
    fetch = commands.add_parser("fetch", help="fetch parts, and build the kernel with iommufd (all, unless named)")
    fetch.add_argument("names", nargs="*", metavar="PART")
    fetch.set_defaults(command=_fetch)
    return parser


def _run(options: argparse.Namespace) -> int:
    names = list(dict.fromkeys(options.names or SCENARIOS))
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise LabError(f"{unknown[0]}: no scenario of the lab", f"There are {', '.join(SCENARIOS)}.")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="atoll-lab-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with closing(Results(options.output, names)) as results:
            code = _run_all(options, names, folder, results)
    except KeyboardInterrupt:
        _say(f"interrupted: {options.output} tells what had ended; what the runs left is in {folder}")
        return INTERRUPTED
    if code:
        print(f"lab: what the runs left is in {folder}", file=sys.stderr)
    elif not options.folder:
        shutil.rmtree(folder)
    return code


def _run_all(options: argparse.Namespace, names: list[str], folder: Path, results: Results) -> int:
    code = 0
    for name in names:
        setting = Setting(
            kernels=tuple(options.kernel or SCENARIOS[name].kernels),
            folder=folder,
            say=_say,
            repeat=options.repeat,
            seed=options.seed,
            seconds=options.seconds,
            so_far=partial(results.so_far, name),
        )
        began = time.monotonic()
        results.begins(name)
        report = run_scenario(name, setting)
        results.ended(name, report, time.monotonic() - began)
        _show(name, report)
        code = max(code, report.exit_code)
    _say(f"{options.output} written, {results.seconds:.0f} s")
    return code


def _show(name: str, report: Report) -> None:
    for check in report.checks:
        print(f"{'ok  ' if check.ok else 'FAIL'} {name} {check.kernel}: {check.says}")
        if not check.ok and check.detail:
            print(f"     {check.detail}")
    for kernel, error in report.failed.items():
        print(f"FAIL {name} {kernel}: the lab itself failed: {error.message}")
        if error.hint:
            print(f"     {error.hint}")


def _list(options: argparse.Namespace) -> int:
    print("Scenarios (python -m lab run NAME)")
    for name, scenario in SCENARIOS.items():
        print(f"    {name:20} {scenario.summary} ({', '.join(scenario.kernels)})")
    print("Parts (python -m lab fetch PART)")
    for name, bundle in BUNDLES.items():
        print(f"    {name:20} {bundle.summary}")
    print(f"    {_BUILT:20} Linux 6.12 with iommufd, built here")
    return 0


_BUILT = "kernel-iommufd"


def _fetch(options: argparse.Namespace) -> int:
    from lab.fetch import part

    names = options.names or [*BUNDLES, _BUILT]
    if unknown := [name for name in names if name not in BUNDLES and name != _BUILT]:
        raise LabError(f"{unknown[0]}: no part of the lab", f"There are {', '.join([*BUNDLES, _BUILT])}.")
    for name in names:
        if name == _BUILT:
            from lab.fetch.kernel_build import built_kernel

            print(built_kernel(say=_say))
        else:
            print(part(name, say=_say))
    return 0


def _say(line: str) -> None:
    print(f"lab: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    listen()
    sys.exit(main())
