"""Finding the system's Debian mirror in both formats of apt's sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.fetch.sources import find_mirror, parse_deb822, parse_one_line, system_mirror

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://security.example/debian-security
Suites: trixie-security
Components: main

Types: deb
URIs: http://mirror.example/debian
  http://other.example/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/some.gpg
"""

ONE_LINE = """\
deb-src http://mirror.example/debian bookworm main
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/x.gpg] https://tools.example/apt nodistro main
deb [ arch=amd64 signed-by=/k.gpg ] http://one.example/debian/ bookworm main non-free-firmware  # here
"""


def test_deb822_takes_the_release_not_its_security_archive() -> None:
    mirror = find_mirror(parse_deb822(DEB822))
    assert mirror is not None
    assert (mirror.uri, mirror.signed_by) == ("http://mirror.example/debian", "/usr/share/keyrings/some.gpg")


def test_one_line() -> None:
    mirror = find_mirror(parse_one_line(ONE_LINE))
    assert mirror is not None
    assert (mirror.uri, mirror.signed_by) == ("http://one.example/debian/", "/k.gpg")


@pytest.mark.parametrize(
    "text",
    [
        DEB822.replace("Components: main contrib", "Components: contrib"),
        DEB822.replace("Suites: trixie trixie-updates", "Suites: noble"),
        DEB822.replace("Types: deb\n", "Types: deb-src\n"),
        DEB822.replace("Types: deb\n", "Enabled: no\nTypes: deb\n"),
        "",
    ],
)
def test_what_is_no_release_of_debian_is_no_mirror(text: str) -> None:
    assert find_mirror(parse_deb822(text)) is None


def test_a_key_written_into_the_stanza_is_passed_on() -> None:
    key = " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ\n -----END PGP PUBLIC KEY BLOCK-----"
    text = DEB822.replace("Signed-By: /usr/share/keyrings/some.gpg", f"Signed-By:\n{key}")
    mirror = find_mirror(parse_deb822(text))
    assert mirror is not None
    assert mirror.signed_by.splitlines() == key.splitlines()


def test_a_system_without_debian_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        system_mirror(tmp_path, environment={})
    assert "no Debian mirror" in caught.value.message
    assert "ATOLL_LAB_MIRROR" in caught.value.hint


def test_files_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/debian.sources.save").write_text(DEB822.replace("mirror.example", "old.example"))
    assert system_mirror(tmp_path, environment={}).uri == "http://mirror.example/debian"
    (tmp_path / "sources.list").write_text(ONE_LINE)
    assert system_mirror(tmp_path, environment={}).uri == "http://one.example/debian/"
    named = {"ATOLL_LAB_MIRROR": "http://named.example/debian"}
    assert system_mirror(tmp_path, environment=named).uri == "http://named.example/debian"
