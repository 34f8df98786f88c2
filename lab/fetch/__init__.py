"""Get from Debian what the lab needs, once: ``part("qemu-x86")`` is a folder with QEMU in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from lab.errors import AbsentError, LabError
from lab.fetch.apt import Apt, Package
from lab.fetch.bundles import ARCHIVES, BUNDLES, Bundle
from lab.fetch.cache import cache_folder, exclusive, replace_folder, require_space
from lab.fetch.record import write_bundle
from lab.fetch.sources import system_mirror

__all__ = ["older_kernel", "part", "versions_of"]

# An index this young is not fetched again: several bundles of one run come from one state of the archive.
_INDEX_SECONDS = 3600

Say = Callable[[str], None]


def part(name: str, *, cache: Path | None = None, say: Say = lambda line: None) -> Path:
    """The folder with the bundle unpacked; fetched on first use, afterwards without any network.

    Raises `LabError` where it cannot be fetched. Two processes that want the same share one download.
    """
    cache = cache or cache_folder()
    place, bundle = cache / "parts" / name, BUNDLES[name]
    if _is_there(place, bundle):
        return place
    with exclusive(cache, f"part-{name}"):
        if not _is_there(place, bundle):
            _fetch(name, bundle, place, cache=cache, say=say)
    return place


def versions_of(name: str, *, cache: Path | None = None) -> str:
    """One line that changes when the bundle's packages do; the bundle has been fetched."""
    document = json.loads(((cache or cache_folder()) / "parts" / name / "packages.json").read_text())
    packages = document["packages"]
    return " ".join(f"{package['name']}={package['version']}:{package['sha256'][:12]}" for package in packages)


def _is_there(place: Path, bundle: Bundle) -> bool:
    """Whether it was fetched, as the table describes it now."""
    try:
        document = json.loads((place / "packages.json").read_text())
    except (OSError, ValueError):
        # It may have been cut off with its machine.
        return False
    return isinstance(document, dict) and document.get("bundle") == repr(bundle)


def _fetch(name: str, bundle: Bundle, place: Path, *, cache: Path, say: Say) -> None:
    with exclusive(cache, f"apt-{bundle.archive}"):
        apt = _apt(bundle.archive, cache)
        packages = _choose(apt, bundle)
        pool = cache / "pool"
        pool.mkdir(exist_ok=True)
        while True:
            size = sum(package.size for package in packages)
            say(f"{name}: {bundle.summary}: {len(packages)} packages, {size / 1e6:.1f} MB")
            require_space(cache, size + bundle.unpacked)
            try:
                apt.download(packages, pool)
                break
            except AbsentError as error:
                older = older_kernel(apt, bundle, packages)
                if not older:
                    raise
                say(f"{name}: {error.message}")
                packages = older
    new = place.with_name(f"{name}.new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "root").mkdir(parents=True)
    for package in packages:
        _unpack(cache / "pool" / package.file, new / "root")
    for pattern in bundle.leave:
        for path in (new / "root").glob(pattern):
            shutil.rmtree(path)
    document = {"bundle": repr(bundle), "packages": [asdict(package) for package in packages]}
    (new / "packages.json").write_text(json.dumps(document, indent=1) + "\n")
    replace_folder(new, place)
    with exclusive(cache, "versions"):
        write_bundle(cache, name, packages)
    # What is unpacked is all that is used; kernels' packages alone are hundreds of megabytes.
    for package in packages:
        (cache / "pool" / package.file).unlink(missing_ok=True)


def _apt(name: str, cache: Path) -> Apt:
    archive = ARCHIVES[name]
    folder = cache / "apt" / name
    mirror = system_mirror(environment=os.environ)
    require_space(cache, 64 << 20)
    apt = Apt(folder, mirror=mirror, suites=archive.suites, architecture=archive.architecture, pins=archive.pins)
    fresh = folder / "updated"
    state = f"{mirror} {archive}"
    if not (
        fresh.exists() and fresh.read_text() == state and 0 <= time.time() - fresh.stat().st_mtime < _INDEX_SECONDS
    ):
        apt.update()
        fresh.write_text(state)
    return apt


def _choose(apt: Apt, bundle: Bundle) -> list[Package]:
    if bundle.resolve:
        return apt.resolve(*bundle.packages)
    names = list(bundle.packages)
    if bundle.follow:
        names = _behind(apt, bundle.packages[0], bundle.follow)
    return apt.locate(*names)


def _behind(apt: Apt, meta: str, prefixes: tuple[str, ...]) -> list[str]:
    """The packages with files behind a meta package: those of the prefixes that themselves need no other of them."""
    _, slash, suite = meta.partition("/")
    found: list[str] = []
    ahead = [meta]
    seen = set(ahead)
    while ahead:
        name = ahead.pop()
        found.append(name)
        for needed in apt.depends(name):
            if needed.startswith(prefixes) and needed + slash + suite not in seen:
                seen.add(needed + slash + suite)
                ahead.append(needed + slash + suite)
    return found


# linux-image-6.12.107+deb13-cloud-amd64, linux-image-6.1.0-50-powerpc64le: the release, and the flavour.
_IMAGE = re.compile(r"linux-image-(\d[^-]*(?:-\d+)?)-(\D.*)")


def older_kernel(apt: Apt, bundle: Bundle, packages: list[Package]) -> list[Package]:
    """The packages of the next older kernel of the bundle's series in the index; none where it has no older one."""
    image = next((found for package in packages if (found := _IMAGE.fullmatch(package.name))), None)
    if image is None or not bundle.series:
        return []
    release, flavour = image.groups()
    others = (found for name in apt.names("linux-image-") if (found := _IMAGE.fullmatch(name)))
    releases = {_numbers(found[1]): found[0] for found in others if found[2] == flavour}
    older = [
        numbers
        for numbers in releases
        if numbers < _numbers(release) and releases[numbers].startswith(f"linux-image-{bundle.series}.")
    ]
    return apt.locate(*_behind(apt, releases[max(older)], bundle.follow)) if older else []


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", release)))


def _unpack(file: Path, root: Path) -> None:
    try:
        done = subprocess.run(
            ("dpkg-deb", "--extract", str(file), str(root)), capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise LabError("dpkg-deb is not here", "The lab fetches from Debian: it needs a Debian system.") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise LabError(f"{file.name}: cannot be unpacked: {said}", "Is the disk full?")
