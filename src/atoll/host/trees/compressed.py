"""Streams that gzip, bzip2 or xz compressed, read a piece at a time."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from typing import BinaryIO, cast

__all__ = ["DAMAGED", "compression", "decompressed"]

_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))

DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
"""What reading raises where the data is damaged or ends too early; bzip2 raises a bare OSError."""


def compression(head: bytes) -> str:
    """Return what compressed the data that begins so; nothing for plain data."""
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


def decompressed(file: BinaryIO, kind: str) -> BinaryIO:
    """Return the stream behind a compressed one; the same for plain data."""
    if kind == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    if kind == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(file))
    if kind == "xz":
        return cast(BinaryIO, _XzFile(file))
    return file


class _XzFile:
    """Like ``lzma.LZMAFile``, but an xz header cannot ask for any size of dictionary (``xz -9`` needs 65 MiB)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._input = b""
        self._decompressor = self._next()

    def _next(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 << 20)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end only."""
        while True:
            if self._decompressor.eof:
                self._input = self._decompressor.unused_data or self._file.read(1 << 16)
                if not self._input.strip(b"\0"):
                    return b""
                self._decompressor = self._next()
            if self._decompressor.needs_input and not self._input:
                self._input = self._file.read(1 << 16)
                if not self._input:
                    raise EOFError("the compressed data ends too early")
            data, self._input = self._decompressor.decompress(self._input, size), b""
            if data:
                return data
