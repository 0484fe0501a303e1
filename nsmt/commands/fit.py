"""Whether a corpus can be used at all, and by this model: told before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nsmt.commands.config import RunConfig
from nsmt.data.corpus import Corpus
from nsmt.data.prepare import prepare
from nsmt.errors import CheckpointError, DataError
from nsmt.models.checkpoint import TrainedModel

HELD_OUT = ("valid", "test")


def recorded_corpus(
    folder: Path, record: Mapping[str, Any], run: RunConfig, *, progress: bool
) -> Corpus:
    """The corpus of a run, by its certificate; DataError if it is not what the run trained on."""
    corpus = prepare(
        run.data,
        corpora=Path(run.paths.corpora),
        downloads=Path(run.paths.downloads),
        progress=progress,
    )
    if corpus.fingerprint != record["data_fingerprint"]:
        raise DataError(
            f"{corpus.folder} holds other text than {folder} was trained on",
            fix="put the inputs of that run back, or train again",
        )
    return corpus


def require_held_out(corpus: Corpus) -> None:
    """Raise a DataError unless every direction can be validated, identified and tested."""
    empty = [
        f"{direction} has no {split} text"
        for direction in corpus.directions
        for split in HELD_OUT
        if len(corpus.table(direction, split)) == 0
    ]
    if empty:
        raise DataError(
            f"not every direction can be evaluated: {', '.join(empty)}",
            fix="raise data.split.valid and data.split.test, or give valid and test files",
        )


def require_room(corpus: Corpus, positions: int, *, splits: tuple[str, ...] = HELD_OUT) -> None:
    """Raise a DataError if a held-out sentence, with tag and </s>, exceeds the positions."""
    lengths = [
        int(max(side.max(initial=0) for side in (table.source_lengths, table.target_lengths)))
        for direction in corpus.directions
        for table in (corpus.table(direction, split) for split in splits)
    ]
    longest = max(lengths) + 2
    if longest > positions:
        raise DataError(
            f"the longest sentence of {' and '.join(splits)} takes {longest} positions, the model "
            f"has {positions}",
            fix=f"train with model.max_positions={longest}: no sentence of a test set is left out",
        )


def require_model_fits(
    trained: TrainedModel, corpus: Corpus, *, splits: tuple[str, ...] = HELD_OUT
) -> None:
    """Raise unless the model reads the pieces of the corpus, and all of each sentence."""
    if trained.vocabulary.fingerprint != corpus.vocabulary.fingerprint:
        raise CheckpointError(
            "the checkpoint's vocabulary is not that of the corpus",
            fix="name the corpus that the checkpoint was trained on",
        )
    require_room(corpus, trained.model.settings.max_positions, splits=splits)
