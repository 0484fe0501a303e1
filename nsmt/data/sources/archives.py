"""Reading the files in archives that others made, one after the other, in memory.

An archive is data, not a script: nothing is written where it says. One that names an absolute path
or `..` is refused as a whole, whether or not that member is wanted, and so is one that is damaged
or cut short, naming the archive and the member.
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

import zstandard

from nsmt.errors import DataError

_DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,  # zipfile, of methods that it does not know
    RuntimeError,  # zipfile, of encrypted members
    struct.error,
    ValueError,
)
_AR_MAGIC, _AR_HEADER = b"!<arch>\n", 60


class Member(NamedTuple):
    """A file of an archive: its path there; `read` its content before the next one is asked for."""

    path: str
    read: Callable[[], bytes]


@contextmanager
def reading(archive: Path, member: str = "") -> Iterator[None]:
    """Tell of damage met within as a DataError that names the archive."""
    try:
        yield
    except _DAMAGE as error:
        where = f"{archive}, member '{member}'," if member else f"{archive}"
        raise DataError(
            f"{where} cannot be read: {error}",
            fix="it is cut short, or damaged: delete it and fetch it again",
        ) from None


def deb_members(archive: Path) -> Iterator[Member]:
    """The files of a Debian package, without those of its control part."""
    with reading(archive), archive.open("rb") as file:
        name, size = _find_data(file, archive)
        data = _Window(file, size)
        with _decompressed(data, PurePosixPath(name).suffix) as stream:
            yield from _tar_members(archive, stream)


def tgz_members(archive: Path) -> Iterator[Member]:
    """The files of a .tgz."""
    with reading(archive), gzip.open(archive) as stream:
        yield from _tar_members(archive, cast("IO[bytes]", stream))


def zip_members(archive: Path, content: bytes | None = None) -> Iterator[Member]:
    """The files of a zip, wheel or xpi; `content` is given for an archive within the archive."""
    with (
        reading(archive),
        zipfile.ZipFile(archive if content is None else io.BytesIO(content)) as members,
    ):
        for info in members.infolist():
            _check_path(archive, info.filename)
            if not info.is_dir():
                content_of = partial(members.read, info)
                yield Member(info.filename, partial(_read, archive, info.filename, content_of))


def extract(archive: Path, wanted: Collection[str], folder: Path) -> None:
    """Copy the wanted members of a .tgz into a folder, by the last part of their names.

    Of several members with the same last part, the first is taken.
    """
    left = set(wanted)
    for member in tgz_members(archive):
        name = PurePosixPath(member.path).name
        if name in left:
            left.remove(name)
            (folder / name).write_bytes(member.read())


def _tar_members(archive: Path, stream: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as members:
        for info in members:
            _check_path(archive, info.name)
            content = members.extractfile(info) if info.isreg() else None
            if content is not None:
                path = info.name.removeprefix("./")
                yield Member(path, partial(_read, archive, path, content.read))
    # To the very end, where checksums are.
    while stream.read(1 << 20):
        pass


def _read(archive: Path, path: str, content: Callable[[], bytes]) -> bytes:
    with reading(archive, path):
        return content()


def _check_path(archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(
            f"{archive}: the member '{name}' leads out of the archive",
            fix="do not unpack it; delete it and look at where it came from",
        )


def _find_data(file: IO[bytes], archive: Path) -> tuple[str, int]:
    """Go to the data part of an ar archive that is as long as it says; its name and size."""
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ValueError("it is no Debian package")
    end = archive.stat().st_size
    while header := file.read(_AR_HEADER):
        if len(header) < _AR_HEADER or header[58:] != b"`\n":
            raise ValueError("a header is damaged")
        name = header[:16].decode("ascii").rstrip(" /")
        size = int(header[48:58])
        if file.tell() + size > end:
            raise EOFError(f"it ends within {name}")
        if name.startswith("data.tar"):
            return name, size
        file.seek(size + size % 2, io.SEEK_CUR)
    raise EOFError("it has no data.tar")


class _Window(io.RawIOBase):
    """The next `size` bytes of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        content = self._file.read(min(len(view), self._left))
        view[: len(content)] = content
        self._left -= len(content)
        return len(content)


@contextmanager
def _decompressed(data: io.RawIOBase, suffix: str) -> Iterator[IO[bytes]]:
    buffered = io.BufferedReader(data, 1 << 18)
    match suffix:
        case ".xz" | ".lzma":
            with lzma.open(buffered) as stream:
                yield cast("IO[bytes]", stream)
        case ".gz":
            with gzip.open(buffered) as stream:
                yield cast("IO[bytes]", stream)
        case ".zst":
            reader = zstandard.ZstdDecompressor().stream_reader(buffered)
            yield cast("IO[bytes]", reader)
        case ".tar":
            yield cast("IO[bytes]", buffered)
        case _:
            raise ValueError(f"data.tar{suffix} is compressed in an unknown way")
