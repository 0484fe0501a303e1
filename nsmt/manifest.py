"""Folders that know whether they are whole: a manifest holds the sha256 of every file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nsmt.errors import CheckpointError
from nsmt.files import sha256

MANIFEST: Final = "manifest.json"
_FIX: Final = "use another one, or delete that folder and train again"


def write_manifest(folder: Path) -> dict[str, str]:
    """Write down the sha256 of each file that the folder has now, by its name."""
    manifest = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return manifest


def verified_manifest(folder: Path, *, required: Sequence[str]) -> dict[str, str]:
    """The manifest, if every file is what was written and the required ones are among them.

    Files that the manifest does not name are no part of the folder. Raises CheckpointError.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint in {folder}",
            fix=f"name the folder of a trained model, the one that holds {MANIFEST}",
        )
    try:
        manifest: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        damaged = [name for name, digest in manifest.items() if sha256(folder / name) != digest]
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint in {folder} is torn: {error}", fix=_FIX) from error
    damaged += [name for name in required if name not in manifest]
    if damaged:
        raise CheckpointError(
            f"the checkpoint in {folder} is corrupt: {', '.join(damaged)} is not what was written",
            fix=_FIX,
        )
    return manifest


def require_unaltered(path: Path, digest: str) -> None:
    """Raise a CheckpointError unless the file has that sha256."""
    if not path.is_file() or sha256(path) != digest:
        raise CheckpointError(
            f"{path} is not what was written",
            fix="delete the states of its stage to train that from the beginning",
        )
