"""From cleaned blocks to vocabulary and pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from nsmt.data.blocks import CleanedPair, columns, texts
from nsmt.data.corpus import TableWriter, token_type
from nsmt.data.sampling import permuted
from nsmt.data.settings import CleaningSettings, CorpusSettings
from nsmt.data.split import SPLITS
from nsmt.data.tally import Tally
from nsmt.data.vocabulary import Vocabulary
from nsmt.data.workers import Workers
from nsmt.files import replace_file
from nsmt.languages import Direction


def given_vocabulary(settings: CorpusSettings) -> Vocabulary | None:
    """The vocabulary that `data.vocabulary.model` names, or None."""
    if settings.vocabulary.model is None:
        return None
    return Vocabulary.given(settings.vocabulary.model, languages=tuple(settings.language_table()))


def make_vocabulary(pairs: Sequence[CleanedPair], settings: CorpusSettings) -> Vocabulary:
    """The vocabulary given, or one learned from a sample of train, balanced over languages."""
    if (given := given_vocabulary(settings)) is not None:
        return given
    languages = tuple(settings.language_table())
    sample = _sample(pairs, settings)
    return Vocabulary.train(sample, languages=languages, settings=settings.vocabulary)


def sample_sizes(sizes: dict[str, int], *, total: int, temperature: float) -> dict[str, int]:
    """Sentences to draw of each language, p ~ n^(1/T), `total` or all there are in sum.

    A small language may get more than it has; its sentences are then repeated.
    """
    budget = min(total, sum(sizes.values()))
    weights = {code: size ** (1 / temperature) if size else 0.0 for code, size in sizes.items()}
    whole = sum(weights.values()) or 1.0
    return {code: round(budget * weight / whole) for code, weight in weights.items()}


@dataclass(frozen=True, slots=True)
class CleanBlock:
    """A block to encode: which of its rows, with what, and where to."""

    pair: Direction
    path: Path
    kept: np.ndarray
    # The splits whose sentences may be of any length.
    unlimited: tuple[str, ...]
    cleaning: CleaningSettings
    vocabulary: Path
    to: Path


def encode_pairs(
    pairs: Sequence[CleanedPair],
    settings: CorpusSettings,
    *,
    vocabulary: Path,
    folder: Path,
    workers: Workers,
    advance: Callable[[], object],
) -> None:
    """Encode all blocks of all pairs below `folder` that are not there yet.

    Sentences of more pieces than `max_tokens` are left out, except from the valid and test sets
    that the source gave: a benchmark with sentences missing is another benchmark.
    """
    blocks = (
        CleanBlock(
            cleaned.pair,
            path,
            kept,
            tuple(split for split in cleaned.given if split != "train"),
            settings.cleaning,
            vocabulary,
            to,
        )
        for cleaned in pairs
        for path, kept in zip(cleaned.blocks, cleaned.kept, strict=True)
        if not (to := encoded_path(folder, cleaned.pair, path)).is_file()
    )
    for _ in workers.map(encode_block, blocks):
        advance()


def encoded_path(folder: Path, pair: Direction, block: Path) -> Path:
    """Where the pieces of a block go."""
    return folder / str(pair) / f"{block.stem}.npz"


def encode_block(block: CleanBlock) -> None:
    """Write the pieces of a block: by split and side flat ids and lengths; and what is kept."""
    vocabulary = _vocabulary(block.vocabulary)
    (split_of,) = columns(block.path, "split")
    kept = block.kept.copy()
    arrays: dict[str, np.ndarray] = {"kept": kept}
    for place, split in enumerate(SPLITS):
        here = block.kept & (split_of == place)
        if not here.any():
            continue
        sides = [vocabulary.encode_flat(side) for side in texts(block.path, here)]
        longest = np.maximum(*(lengths for _, lengths in sides))
        fits = np.ones(len(longest), dtype=bool)
        if split not in block.unlimited:
            fits = longest <= block.cleaning.max_tokens
        kept[np.flatnonzero(here)[~fits]] = False
        for side, (ids, lengths) in enumerate(sides):
            fitting = ids[np.repeat(fits, lengths)].astype(token_type(vocabulary.size))
            arrays |= {f"{split}.{side}.ids": fitting, f"{split}.{side}.lengths": lengths[fits]}
    with replace_file(block.to) as part, part.open("wb") as sink:
        np.savez(sink, allow_pickle=False, **arrays)


def write_tables(
    cleaned: CleanedPair, *, encoded: Path, folder: Path, dtype: np.dtype[Any], tally: Tally
) -> None:
    """Put the encoded blocks of a pair together: one table a split, counts into the tally."""
    writers = {split: TableWriter(folder, cleaned.pair, split, dtype) for split in SPLITS}
    for path, before in zip(cleaned.blocks, cleaned.kept, strict=True):
        with np.load(encoded_path(encoded, cleaned.pair, path)) as arrays:
            (split_of,) = columns(path, "split")
            for place, split in enumerate(SPLITS):
                here = split_of == place
                after = here & arrays["kept"]
                dropped = int((here & before).sum() - after.sum())
                tally.drop(cleaned.pair, split, "too_many_tokens", number=dropped)
                if after.any():
                    pieces = _pieces(arrays, split)
                    held = texts(path, after) if split != "train" else None
                    writers[split].add(pieces, texts=held)
    for split, writer in writers.items():
        tally.pieces(cleaned.pair, split, writer.finish())


def _pieces(arrays: Mapping[str, np.ndarray], split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(arrays[f"{split}.{side}.ids"], arrays[f"{split}.{side}.lengths"]) for side in range(2)]


@cache
def _vocabulary(path: Path) -> Vocabulary:
    return Vocabulary.load(path)


def _sample(pairs: Sequence[CleanedPair], settings: CorpusSettings) -> Iterator[str]:
    """Training text of each language in turn, as much as its share of the sample.

    Of what is kept: a pair with a `max_train` has no more sentences here than in training.
    """
    options, codes = settings.vocabulary, tuple(settings.language_table())
    rows = [_train_rows(pair) for pair in pairs]
    sizes = {
        code: sum(
            int(marked.sum())
            for pair, of_pair in zip(pairs, rows, strict=True)
            if code in (pair.pair.source, pair.pair.target)
            for marked in of_pair
        )
        for code in codes
    }
    wanted = sample_sizes(sizes, total=options.sample_sentences, temperature=options.temperature)
    for code in codes:
        if not sizes[code]:
            continue
        whole, rest = divmod(wanted[code], sizes[code])
        first = 0
        for batch in _texts_of(code, pairs, rows):
            place = np.arange(first, first + len(batch))
            chosen = permuted(place, sizes[code], seed=(options.seed, *code.encode())) < rest
            for text, more in zip(batch, chosen.tolist(), strict=True):
                yield from repeat(text, whole + more)
            first += len(batch)


def _train_rows(cleaned: CleanedPair) -> list[np.ndarray]:
    """Which rows of each block are training text."""
    train = SPLITS.index("train")
    return [
        kept & (columns(path, "split")[0] == train)
        for path, kept in zip(cleaned.blocks, cleaned.kept, strict=True)
    ]


def _texts_of(
    code: str, pairs: Sequence[CleanedPair], rows: Sequence[Sequence[np.ndarray]]
) -> Iterator[list[str]]:
    for cleaned, of_pair in zip(pairs, rows, strict=True):
        if code in (cleaned.pair.source, cleaned.pair.target):
            side = 0 if code == cleaned.pair.source else 1
            for path, marked in zip(cleaned.blocks, of_pair, strict=True):
                yield texts(path, marked)[side]
