"""The lab's folder on disk: where it is, who may write it now, and whether there is room."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError

__all__ = ["CACHE_VARIABLE", "cache_folder", "exclusive", "replace_folder", "require_space"]

CACHE_VARIABLE = "ATOLL_LAB_CACHE"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """``$ATOLL_LAB_CACHE``, else ``$XDG_CACHE_HOME/atoll-lab``, else ``~/.cache/atoll-lab``."""
    if named := environment.get(CACHE_VARIABLE):
        return Path(named).absolute()
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "atoll-lab"


@contextmanager
def exclusive(cache: Path, subject: str) -> Iterator[None]:
    """Hold the cache's lock for one subject; a second run waits here and then finds the work done.

    Raises `LabError` if the cache cannot be written.
    """
    try:
        (cache / "locks").mkdir(parents=True, exist_ok=True)
        lock = os.open(cache / "locks" / subject, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LabError(
            f"{cache}: cannot be written: {error.strerror}", f"Name another folder: {CACHE_VARIABLE}=DIR."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def require_space(folder: Path, size: int) -> None:
    """Raise `LabError` unless ``size`` more bytes fit beneath ``folder``."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise LabError(
            f"{folder}: {size >> 20} MiB are needed and {free >> 20} MiB are free",
            f"Make room, or name a folder on another disk: {CACHE_VARIABLE}=DIR.",
        )


def replace_folder(new: Path, place: Path) -> None:
    """Put the finished folder ``new`` at ``place``, so that a reader sees the old one, or the new one, whole."""
    old = place.with_name(place.name + ".old")
    if old.exists():
        shutil.rmtree(old)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)
