"""Taking files out of tar archives that others made.

An archive is data, not a script: nothing is written where it says, and one that names a place
outside of itself is refused as a whole, whether or not that member is wanted.
"""

from __future__ import annotations

import errno
import gzip
import shutil
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from nsmt.errors import DataError

_CHUNK = 1 << 20


def extract(archive: Path, wanted: Collection[str], folder: Path) -> set[str]:
    """Copy the wanted members of a .tgz into a folder, by the last part of their names.

    Returns the names found.

    Raises:
        DataError: a damaged or truncated archive; a member with an absolute path or with `..`.
    """
    found: set[str] = set()
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
            for member in members:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(
                        f"{archive}: the member '{member.name}' leads out of the archive",
                        fix="do not unpack it; download it again from where it was published",
                    )
                content = members.extractfile(member) if member.isreg() else None
                if content is not None and path.name in wanted and path.name not in found:
                    found.add(path.name)
                    with (folder / path.name).open("wb") as sink:
                        shutil.copyfileobj(content, sink)
            # To the very end, where the checksum is.
            while stream.read(_CHUNK):
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # of the folder, not of the archive
        raise DataError(
            f"{archive} cannot be read: {error}",
            fix="copy or download the archive again: it is cut short, or damaged",
        ) from None
    return found
