"""Translations and likelihoods as files: written whole, and read where they would be made again.

The layout is that of published outputs, DIRECTION/{src,ref,hyp.SYSTEM}.txt, with the likelihoods
beside them and, for each system, a note of what made them and of every file's sha256.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from nsmt.data.corpus import Corpus
from nsmt.data.sources.lines import read_lines
from nsmt.evaluation.results import TestOutput
from nsmt.files import link_file, replace_text, sha256
from nsmt.languages import Direction
from nsmt.manifest import MANIFEST
from nsmt.models.decoding import DecodingSettings
from nsmt.models.systems import CHECKPOINT

_LOG = logging.getLogger(__name__)
TRANSLATIONS: Final = "translations"
_HEAD: Final = "nll\ttarget_tokens"


def maker(
    models: Path, system: str, corpus: Corpus, *, decoding: DecodingSettings, split: str = "test"
) -> dict[str, Any]:
    """What decides a system's outputs: its checkpoints, the text, the search."""
    digest = hashlib.sha256()
    for manifest in sorted((models / system).rglob(f"{CHECKPOINT}/{MANIFEST}")):
        digest.update(manifest.read_bytes())
    return {
        "checkpoints": digest.hexdigest(),
        "corpus": corpus.fingerprint,
        "split": split,
        "decoding": decoding.model_dump(mode="json"),
    }


def write_translations(
    folder: Path,
    system: str,
    corpus: Corpus,
    outputs: Mapping[Direction, TestOutput],
    *,
    made_by: Mapping[str, Any] | None = None,
    split: str = "test",
) -> None:
    """Write a system's outputs, the note last; without `made_by` they are not read again."""
    sources = {d: corpus.texts(d, split)[0] for d in outputs}
    write_outputs(folder, system, sources, outputs, made_by=made_by)


def write_outputs(
    folder: Path,
    system: str,
    sources: Mapping[Direction, Sequence[str]],
    outputs: Mapping[Direction, TestOutput],
    *,
    made_by: Mapping[str, Any] | None = None,
) -> None:
    """The same for any source sentences."""
    for direction, output in outputs.items():
        place = folder / str(direction)
        texts = {
            "src": sources[direction],
            "ref": output.references,
            f"hyp.{system}": output.hypotheses,
        }
        for name, lines in texts.items():
            replace_text(place / f"{name}.txt", "".join(f"{line}\n" for line in lines))
        assert output.nll is not None  # noqa: S101 -- narrows the type
        assert output.target_tokens is not None  # noqa: S101
        rows = zip(np.asarray(output.nll).tolist(), output.target_tokens.tolist(), strict=True)
        text = "".join(f"{nll!r}\t{count}\n" for nll, count in rows)
        replace_text(place / f"nll.{system}.tsv", f"{_HEAD}\n{text}")
    if made_by is not None:
        files = {
            str(path.relative_to(folder)): sha256(path)
            for direction in outputs
            for path in _files(folder, system, direction)
        }
        note = {"made_by": made_by, "directions": [*map(str, outputs)], "files": files}
        replace_text(_note(folder, system), json.dumps(note, indent=1) + "\n")


def kept_translations(
    folder: Path, system: str, corpus: Corpus, *, made_by: Mapping[str, Any]
) -> dict[Direction, TestOutput] | None:
    """The outputs of `write_translations` as `kept_outputs` reads them."""
    return kept_outputs(
        folder, system, lambda d: corpus.texts(d, made_by["split"])[1], made_by=made_by
    )


def kept_outputs(
    folder: Path,
    system: str,
    references: Callable[[Direction], list[str]],
    *,
    made_by: Mapping[str, Any],
) -> dict[Direction, TestOutput] | None:
    """Outputs of the same models by the same search that are there whole; None if there are none.

    Where files were changed since, they are made again, with a warning.
    """
    path = _note(folder, system)
    if not path.is_file():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        if note["made_by"] != made_by:
            return None
        changed = [
            name for name, digest in note["files"].items() if sha256(folder / name) != digest
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("%s is translated again: %s", system, error)
        return None
    if changed:
        _LOG.warning("%s is translated again: %s was changed", system, ", ".join(changed))
        return None
    directions = [Direction.parse(name) for name in note["directions"]]
    return {
        direction: _read(folder, system, direction, references(direction))
        for direction in directions
    }


def link_translations(folder: Path, system: str, into: Path) -> None:
    """Put a system's outputs into another folder too, if they are whole."""
    path = _note(folder, system)
    if not path.is_file():
        return
    note = json.loads(path.read_text(encoding="utf-8"))
    for direction in map(Direction.parse, note["directions"]):
        texts = [folder / str(direction) / f"{name}.txt" for name in ("src", "ref")]
        for file in (*texts, *_files(folder, system, direction)):
            link_file(file, into / str(direction) / file.name)
    shutil.copyfile(path, _note(into, system))


def _read(folder: Path, system: str, direction: Direction, references: list[str]) -> TestOutput:
    hypotheses, likelihoods = _files(folder, system, direction)
    lines = list(read_lines(hypotheses))
    table = np.loadtxt(likelihoods, delimiter="\t", skiprows=1, ndmin=2)
    return TestOutput(lines, references, table[:, 0], table[:, 1].astype(np.int64))


def _files(folder: Path, system: str, direction: Direction) -> tuple[Path, Path]:
    place = folder / str(direction)
    return place / f"hyp.{system}.txt", place / f"nll.{system}.tsv"


def _note(folder: Path, system: str) -> Path:
    return folder / f"{system}.json"
