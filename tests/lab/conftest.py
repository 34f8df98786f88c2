"""What a real boot needs, fetched on first use: from then on no test touches the network."""

from __future__ import annotations

import os

import pytest

from lab.emulator import emulator
from lab.errors import LabError
from lab.fetch import part
from lab.kernels import kernel


@pytest.fixture(scope="session")
def small_lab() -> str:
    """The kernel of the smallest lab, with all that it needs in the cache; ``ATOLL_LAB=off`` skips what asks for it."""
    if os.environ.get("ATOLL_LAB") == "off":
        pytest.skip("ATOLL_LAB=off")
    try:
        emulator()
        part("guest-x86")
        return kernel("6.1").name
    except LabError as error:
        pytest.fail(f"{error.message}\n{error.hint}\nWithout a lab: ATOLL_LAB=off.", pytrace=False)
