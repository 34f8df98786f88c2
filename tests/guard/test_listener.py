"""The socket at which a holder is asked: who gets to it, and that nothing of it stays."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from atoll.guard.listener import listening


def test_it_is_open_to_all_and_shows_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run" / "hold.sock"
    path.parent.mkdir()
    path.write_text("left behind by a holder that died")
    with listening(path) as listener:
        assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o666, 0o711)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.connect(str(path))
            listener.accept()[0].close()
    assert not path.exists()
