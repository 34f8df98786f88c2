"""Which Debian mirror this system uses, read from its own apt sources (``man sources.list``, both formats)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

__all__ = ["Mirror", "find_mirror", "parse_deb822", "parse_one_line", "system_mirror"]

# Names under which releases of Debian appear in sources; other distributions use others.
_RELEASES = {
    "stable",
    "oldstable",
    "testing",
    "unstable",
    "sid",
    *("bullseye", "bookworm", "trixie", "forky", "duke"),
}

_TRANSPORTS = ("http:", "https:", "file:", "mirror+http:", "mirror+https:", "mirror+file:")

_KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")

MIRROR_VARIABLE = "ATOLL_LAB_MIRROR"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A Debian archive: where it is, and the value of ``Signed-By`` ("" where apt's own trust store decides)."""

    uri: str
    signed_by: str


@dataclass(frozen=True, slots=True)
class _Source:
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str


def parse_deb822(text: str) -> list[_Source]:
    """The binary sources of a ``.sources`` file that are enabled."""
    found = []
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").strip().lower() == "no":
            continue
        found.append(
            _Source(
                tuple(stanza.get("uris", "").split()),
                tuple(stanza.get("suites", "").split()),
                tuple(stanza.get("components", "").split()),
                stanza.get("signed-by", "").strip("\n"),
            )
        )
    return found


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    last = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, ""
        elif line[0] in " \t":
            if last:
                fields[last] += "\n" + line
        else:
            name, _, value = line.partition(":")
            last = name.strip().lower()
            fields[last] = value.strip()


def parse_one_line(text: str) -> list[_Source]:
    """The binary sources of a ``sources.list``: ``deb [options] uri suite component…``."""
    found = []
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        if not line.startswith(("deb ", "deb\t")):
            continue
        rest, options = line[3:].strip(), ""
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        words = rest.split()
        if len(words) < 2:
            continue
        values = dict(word.partition("=")[::2] for word in shlex.split(options))
        found.append(_Source((words[0],), (words[1],), tuple(words[2:]), values.get("signed-by", "")))
    return found


def system_mirror(root: Path = Path("/etc/apt"), *, environment: Mapping[str, str]) -> Mirror:
    """The Debian archive of this system's sources, or the one that the environment names.

    Raises `LabError` where the system has none: another distribution, or sources without ``main``.
    """
    if named := environment.get(MIRROR_VARIABLE):
        return Mirror(named, _keyring())
    sources: list[_Source] = []
    lists = sorted((root / "sources.list.d").glob("*")) if (root / "sources.list.d").is_dir() else []
    for path in [root / "sources.list", *lists]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if path.suffix == ".list":
            sources += parse_one_line(text)
        elif path.suffix == ".sources":
            sources += parse_deb822(text)
    if mirror := find_mirror(sources):
        return mirror
    raise LabError(
        f"{root} names no Debian mirror",
        f"Name one: {MIRROR_VARIABLE}=http://MIRROR/debian (its keys: package debian-archive-keyring).",
    )


def find_mirror(sources: list[_Source]) -> Mirror | None:
    """The first archive of a plain Debian release with ``main``: no security, updates or backports archive."""
    for source in sources:
        if "main" not in source.components or not any(suite.strip("/") in _RELEASES for suite in source.suites):
            continue
        for uri in source.uris:
            if uri.startswith(_TRANSPORTS) and "security" not in uri:
                return Mirror(uri, source.signed_by or _keyring())
    return None


def _keyring() -> str:
    return next((path for path in _KEYRINGS if Path(path).exists()), "")
