"""Lines of text files, plain or compressed, read so that a damaged file is told by name and line.

Lines end at LF alone (a CR before it goes): other characters that Python's `splitlines` breaks at
occur in text and would shift the alignment. Memory holds one line, and never more than
`LONGEST_LINE` bytes of it: what is longer is no text, or ends its lines in another way.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import zstandard

from nsmt.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12

COMPRESSIONS = ("", ".gz", ".bz2", ".xz", ".zst")
LONGEST_LINE = 10_000_000
# What decompressors raise; gzip passes on the errors of zlib.
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
# Compressed bytes read at once; small, because a kilobyte can decompress to many megabytes.
_CHUNK = 1 << 13


def locate(path: Path) -> Path | None:
    """The file of that name, as it is or with the suffix of a compression.

    A DataError if there are several, for nothing says that they hold the same.
    """
    candidates = (path.with_name(f"{path.name}{suffix}") for suffix in COMPRESSIONS)
    return only([candidate for candidate in candidates if candidate.is_file()])


def only(candidates: Sequence[Path]) -> Path | None:
    """The one file of some, or none; several that could serve are a DataError with two of them."""
    if len(candidates) > 1:
        first, second = candidates[:2]
        raise DataError(
            f"{first} and {second} are both there, and either could be meant",
            fix="leave one of them in the folder",
        )
    return candidates[0] if candidates else None


def read_aligned(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of two files side by side; unequal numbers are a DataError with the line."""
    for number, (first, second) in enumerate(
        zip_longest(read_lines(source), read_lines(target)), 1
    ):
        if first is None or second is None:
            ended, longer = (source, target) if first is None else (target, source)
            raise DataError(
                f"line {number} of {longer} has no counterpart: {ended} ends before it",
                fix="align the files line by line; nothing was prepared",
            )
        yield first, second


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines without their ends; what cannot be read is a DataError with the line."""
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), 1):
                if len(line) > LONGEST_LINE:
                    raise DataError(
                        f"{path}, line {number} has more than {LONGEST_LINE:,} bytes",
                        fix="end the lines of the file by LF, or take the line out",
                    )
                yield line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: byte {error.start + 1} of the line is not UTF-8",
            fix="convert the file to UTF-8, or repair the line",
        ) from None
    except _DAMAGE as error:
        raise DataError(
            f"{path} cannot be read after line {number}: {error}",
            fix="copy or download the file again: it is cut short, or damaged",
        ) from None


def _open(path: Path) -> BinaryIO:
    """The file's bytes, decompressed by its suffix."""
    match path.suffix:
        case ".gz":
            return _buffered(gzip.open(path, "rb"))
        case ".bz2":
            return _buffered(bz2.open(path, "rb"))
        case ".xz":
            return _buffered(lzma.open(path, "rb"))
        case ".zst":
            return _buffered(_ZstandardFrames(path))
        case _:
            return path.open("rb")


def _buffered(stream: object) -> BinaryIO:
    # The decompressors of the standard library find the ends of lines in Python, this one in C.
    return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", stream)))


class _ZstandardFrames(io.RawIOBase):
    """All frames of a file: parallel compressors write many, and zstandard.open reads one.

    zstandard's own stream reader takes a frame that is cut short for the end of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._compressed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        while not self._ready:
            self._compressed = self._compressed or self._file.read(_CHUNK)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("the file ends within a frame")
                return 0
            self._decompress()
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _decompress(self) -> None:
        if self._frame is None:
            self._frame = self._decompressor.decompressobj()
        self._ready = memoryview(self._frame.decompress(self._compressed))
        self._compressed = b""
        if self._frame.eof:
            self._compressed, self._frame = self._frame.unused_data, None
