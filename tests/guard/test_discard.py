"""What strangers sent is closed beside the holder, and counts until it is."""

from __future__ import annotations

import os
import threading

import pytest

from atoll.guard.discard import Discard


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_nothing_is_under_way_where_nothing_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or who sends a malformed request is let go with his next one, if that comes soon."""
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    discard = Discard()
    discard.close("red")
    assert discard.under_way() == []


def test_what_came_is_under_way_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    discard = Discard()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        discard.close("red", writing)
        assert discard.under_way() == ["red"]
    discard.under_way()
    assert os.read(reading, 1) == b""
    os.close(reading)
