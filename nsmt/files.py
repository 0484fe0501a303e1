"""Writing so that nothing half-written is ever seen, and telling files by their content."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# What the system says of a disk, or a share of it, that is full.
DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def sha256(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Build a folder under a temporary name beside it, sync it, and put it in place at the end.

    An error, in the block or of a rename, leaves whatever was at `folder` before untouched.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(building, ignore_errors=True)
    old = building.with_suffix(".old")
    # Of a process of this number that was killed.
    _put_back(old)
    shutil.rmtree(old, ignore_errors=True)
    building.mkdir()
    try:
        yield building
        for path in building.rglob("*"):
            if path.is_file():
                _sync(path)
        _sync(building)
        if folder.exists():
            folder.rename(old)
        building.rename(folder)
        _sync(folder.parent)
        if old.exists():
            # Whatever is called old is whole.
            old.rename(building)
    finally:
        _put_back(old)
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Write one file under a temporary name, sync it and put it in place at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield building
        _sync(building)
        building.replace(path)
    finally:
        building.unlink(missing_ok=True)


def link_file(path: Path, place: Path) -> None:
    """Have the same file at another place: a hard link, or a copy where there can be none.

    Only for files that are replaced and never written to.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(place) as building:
        try:
            os.link(path, building)
        except OSError:
            shutil.copyfile(path, building)


def remove_unfinished(folder: Path) -> None:
    """Delete what processes that were killed while replacing something here have left.

    A folder that was moved away, and whose successor was not in place yet, is put back. Only for
    folders that nobody else writes to.
    """
    for old in folder.glob(".*.old"):
        _put_back(old)
    for leftover in (*folder.glob(".*.partial"), *folder.glob(".*.old")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _put_back(old: Path) -> None:
    """Undo the first half of a replacement: `old` is `.NAME.PID.old`."""
    folder = old.with_name(old.name[1:].rsplit(".", 2)[0])
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def replace_text(path: Path, text: str) -> None:
    """Put a text file in place whole."""
    with replace_file(path) as building:
        building.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
