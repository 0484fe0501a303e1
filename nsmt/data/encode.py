"""From spooled text to vocabulary and pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nsmt.data.corpus import TokenColumn, table_name, token_type, write_table
from nsmt.data.settings import CorpusSettings
from nsmt.data.spool import SpooledPair
from nsmt.data.tally import Tally
from nsmt.data.vocabulary import Vocabulary
from nsmt.languages import Direction


def given_vocabulary(settings: CorpusSettings) -> Vocabulary | None:
    """The vocabulary that `data.vocabulary.model` names, or None."""
    if settings.vocabulary.model is None:
        return None
    return Vocabulary.given(settings.vocabulary.model, languages=tuple(settings.language_table()))


def make_vocabulary(spools: Sequence[SpooledPair], settings: CorpusSettings) -> Vocabulary:
    """The vocabulary given, or one learned from a sample of train, balanced over languages."""
    if (given := given_vocabulary(settings)) is not None:
        return given
    languages = tuple(settings.language_table())
    sample = chain.from_iterable(_sample(spools, settings))
    return Vocabulary.train(sample, languages=languages, settings=settings.vocabulary)


def sample_sizes(sizes: dict[str, int], *, total: int, temperature: float) -> dict[str, int]:
    """Sentences to draw of each language, p ~ n^(1/T), `total` or all there are in sum.

    A small language may get more than it has; its sentences are then repeated.
    """
    budget = min(total, sum(sizes.values()))
    weights = {code: size ** (1 / temperature) if size else 0.0 for code, size in sizes.items()}
    whole = sum(weights.values()) or 1.0
    return {code: round(budget * weight / whole) for code, weight in weights.items()}


def encode_pair(
    spooled: SpooledPair,
    vocabulary: Vocabulary,
    settings: CorpusSettings,
    *,
    folder: Path,
    tally: Tally,
) -> None:
    """Write the tables of one pair's three splits.

    Sentences of more pieces than `max_tokens` are left out, except from the valid and test sets
    that the source gave: a benchmark with sentences missing is another benchmark.
    """
    most = settings.cleaning.max_tokens
    writer = _TableWriter(spooled.pair, vocabulary, tally=tally)
    writer.write(folder, "train", spooled.train_texts(), keep_text=False, most=most)
    for split, rows in spooled.held.items():
        texts = [row.source for row in rows], [row.target for row in rows]
        limit = None if split in spooled.given else most
        writer.write(folder, split, [texts], keep_text=True, most=limit)


def _sample(spools: Sequence[SpooledPair], settings: CorpusSettings) -> Iterator[Iterator[str]]:
    codes = list(settings.language_table())
    sizes = {
        code: sum(int(s.kept.sum()) for s in spools if code in (s.pair.source, s.pair.target))
        for code in codes
    }
    options = settings.vocabulary
    wanted = sample_sizes(sizes, total=options.sample_sentences, temperature=options.temperature)
    for code in codes:
        if sizes[code]:
            generator = np.random.default_rng([options.seed, *code.encode()])
            repeats = np.full(sizes[code], wanted[code] // sizes[code])
            rest = wanted[code] % sizes[code]
            repeats[generator.choice(sizes[code], rest, replace=False)] += 1
            yield _repeated(_texts_of(spools, code), repeats)


def _texts_of(spools: Sequence[SpooledPair], code: str) -> Iterator[str]:
    for spooled in spools:
        if code in (spooled.pair.source, spooled.pair.target):
            side = 0 if code == spooled.pair.source else 1
            for batch in spooled.train_texts():
                yield from batch[side]


def _repeated(texts: Iterable[str], repeats: np.ndarray) -> Iterator[str]:
    for text, number in zip(texts, repeats, strict=True):
        for _ in range(number):
            yield text


class _TableWriter:
    def __init__(self, pair: Direction, vocabulary: Vocabulary, *, tally: Tally) -> None:
        self._pair = pair
        self._codes = (pair.source, pair.target)
        self._vocabulary = vocabulary
        self._type = token_type(vocabulary.size)
        self._tally = tally

    def write(
        self,
        folder: Path,
        split: str,
        batches: Iterable[tuple[list[str], list[str]]],
        *,
        keep_text: bool,
        most: int | None,
    ) -> None:
        builders = [_ColumnBuilder(self._type) for _ in self._codes]
        texts: list[list[str]] = [[], []]
        for batch in batches:
            kept, pieces = self._encode(batch, split, most)
            for side, builder in enumerate(builders):
                builder.add([pieces[side][row] for row in kept])
                if keep_text:
                    texts[side] += [batch[side][row] for row in kept]
        columns = dict(zip(self._codes, (b.finish() for b in builders), strict=True))
        kept_texts = dict(zip(self._codes, texts, strict=True)) if keep_text else None
        write_table(folder / table_name(self._pair, split), columns, texts=kept_texts)
        counts = {code: len(column.values) for code, column in columns.items()}
        self._tally.pieces(self._pair, split, counts)

    def _encode(
        self, batch: tuple[list[str], list[str]], split: str, most: int | None
    ) -> tuple[list[int], list[list[list[int]]]]:
        pieces = [self._vocabulary.encode(texts) for texts in batch]
        kept = [
            row
            for row, sides in enumerate(zip(*pieces, strict=True))
            if most is None or max(map(len, sides)) <= most
        ]
        if dropped := len(batch[0]) - len(kept):
            self._tally.drop(self._pair, split, "too_many_tokens", number=dropped)
        return kept, pieces


class _ColumnBuilder:
    """Collects pieces as flat arrays of the final type."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._values: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []

    def add(self, sentences: Sequence[Sequence[int]]) -> None:
        lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences))
        flat = chain.from_iterable(sentences)
        self._values.append(np.fromiter(flat, dtype=self._dtype, count=int(lengths.sum())))
        self._lengths.append(lengths)

    def finish(self) -> TokenColumn:
        ends = np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *self._lengths]))
        values = np.concatenate([np.zeros(0, dtype=self._dtype), *self._values])
        return TokenColumn(values, ends)
