"""Telling input files by their content, without reading large ones anew each time.

A corpus is named by the bytes that it is made of: the same text in another folder, or touched, is
the same corpus, and changed text another one. The hashes are remembered in the downloads folder,
by path, size and the times of the last change of content (mtime) and of status (ctime). Programs
set mtime back when they copy; nobody sets ctime, so that a file changed and then dated back is
read again.

The limits of that: a file whose times are less than two seconds old is not remembered, because
another change could follow within the same tick of its clock; where the clock of a file server
runs behind by more, or the system's clock is turned back, such a change goes unseen. Then delete
`hashes.json`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from nsmt.errors import DataError
from nsmt.files import replace_text, sha256
from nsmt.progress import each, step

_NAME = "hashes.json"
_RACY_NS = 2_000_000_000

# By absolute path: size, mtime, ctime, and the hash.
_KNOWN = TypeAdapter(dict[str, tuple[int, int, int, str]])


def content_hashes(
    paths: Iterable[Path], *, cache: Path | None = None, progress: bool = False
) -> dict[Path, str]:
    """The SHA-256 of files; with a folder `cache`, those that did not change are not read again.

    Raises:
        DataError: a file that changes while it is read.
    """
    wanted = {path.as_posix(): path for path in sorted(set(paths))}
    known = _load(cache / _NAME) if cache is not None else {}
    found: dict[Path, str] = {}
    news: dict[str, tuple[int, int, int, str]] = {}
    with step("hashing", shown=progress) as bars:
        for path in each(wanted, bars):
            place, stamp = str(path.resolve()), _stamp(path)
            entry = known.get(place)
            if entry is None or entry[:3] != stamp:
                entry = (*stamp, _hash(path, stamp))
                if time.time_ns() - max(stamp[1:]) > _RACY_NS:
                    news[place] = entry
            found[path] = entry[3]
    if cache is not None and news:
        replace_text(cache / _NAME, _KNOWN.dump_json(known | news, indent=1).decode() + "\n")
    return found


def _hash(path: Path, stamp: tuple[int, int, int]) -> str:
    found = sha256(path)
    if _stamp(path) != stamp:
        raise DataError(
            f"{path} changed while it was read", fix="wait until it is written, and run again"
        )
    return found


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _load(path: Path) -> dict[str, tuple[int, int, int, str]]:
    """What is remembered; a file that is not there or damaged only costs time."""
    try:
        return _KNOWN.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
