"""``atoll twin new``: a simulated machine in a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from atoll.cli.output import say
from atoll.cli.session import is_twin_file, new_twin, save_twin
from atoll.errors import RefusedError
from atoll.host.fact import Known
from atoll.host.kernel import read_release
from atoll.report.document import document

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Make the machine, just booted. A file that is there and holds no twin is left alone."""
    path = Path(options.file)
    if path.exists() and not is_twin_file(path):
        raise RefusedError(f"{path} is there and is no twin", hint="name another file, or remove it first")
    twin = new_twin(options.name, kernel=options.kernel, links=not options.without_links)
    save_twin(twin, path)
    release = read_release(twin)
    kernel = release.value.text if isinstance(release, Known) else ""
    say(
        options,
        lambda: document("twin new", name=options.name, file=str(path), kernel=kernel, links=not options.without_links),
        lambda style: [f"{style.bold(str(path))}: {options.name}, Linux {kernel}. Look: atoll show --host {path}"],
    )
    return 0
