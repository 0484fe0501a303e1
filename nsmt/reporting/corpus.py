"""The tables of a corpus's overview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nsmt.data.overview import Overview
from nsmt.data.split import SPLITS
from nsmt.languages import Direction, LanguageTable
from nsmt.reporting.tables import MISSING, Table


def pairs_table(found: Overview) -> Table:
    """Sentences of each pair and split."""
    rows = [
        [str(pair), *(f"{counts[split]:,}" for split in SPLITS)]
        for pair, counts in found.sentences.items()
    ]
    totals = [sum(counts[split] for counts in found.sentences.values()) for split in SPLITS]
    rows.append(["all", *(f"{total:,}" for total in totals)])
    return Table("Sentence pairs", ["pair", *SPLITS], rows)


def languages_table(found: Overview, languages: LanguageTable) -> Table:
    """The training text of each language: tokens, words, and what a word costs."""
    rows = []
    for code, entry in found.languages.items():
        language = languages[code]
        each = f"{entry.tokens / entry.words:.2f}" if entry.words else MISSING
        mean = f"{entry.tokens / entry.sentences:.1f}" if entry.sentences else MISSING
        unknown = f"{entry.unknown / max(entry.tokens, 1):.3%}"
        row = [f"{code} {language.name}", language.family, language.tier or MISSING]
        rows.append([*row, f"{entry.sentences:,}", f"{entry.tokens:,}", mean, each, unknown])
    columns = ["language", "family", "tier", "sentences", "tokens"]
    columns += ["tokens a sentence", "tokens a word", "unknown"]
    return Table("Training text by language", columns, rows)


def overlap_table(found: Overview, *, pivot: str) -> Table:
    """How many held-out sentences are in train, word for word."""
    rows = [
        [code, *(f"{seen:,} of {total:,}" for seen, total in of_split.values())]
        for code, of_split in found.overlap.items()
    ]
    note = (
        f"Distinct sentences whose pieces are those of a sentence of train. Of {pivot} there are "
        f"none: its text decides the split. Other languages may say two {pivot} sentences in the "
        "same words."
    )
    return Table("Held-out sentences in train", ["language", *SPLITS[1:]], rows, [note])


def sampling_table(
    shares: Mapping[float, Mapping[Direction, tuple[float, float]]],
) -> Table:
    """The share of each direction at some temperatures, and its repetitions in an epoch."""
    first = next(iter(shares.values()))
    rows = [
        [str(direction)]
        + [f"{of[direction][0]:.2%} ({of[direction][1]:.2f})" for of in shares.values()]
        for direction in first
    ]
    columns = ["direction", *(f"T = {temperature:g}" for temperature in shares)]
    note = "Share of the sentences drawn, and in brackets how often an epoch draws each sentence."
    return Table("Sampling", columns, rows, [note])


def fill_table(fills: Mapping[int, Mapping[str, float]], layouts: Sequence[str]) -> Table:
    """The share of slots filled, by batch size and layout."""
    rows = [
        [f"{tokens:,}", *(f"{of[name]:.1%}" if name in of else MISSING for name in layouts)]
        for tokens, of in fills.items()
    ]
    return Table("Slots filled", ["batch.tokens", *layouts], rows)
