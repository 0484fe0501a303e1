"""The tables of a corpus's overview."""

from __future__ import annotations

from collections.abc import Mapping

from nsmt.data.overview import LAYOUTS, Overview
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
    """How many held-out sentences another split has too, piece for piece."""
    columns = list(dict.fromkeys(name for of_split in found.overlap.values() for name in of_split))
    rows = [
        [code, *(f"{of_split[name][0]:,} of {of_split[name][1]:,}" for name in columns)]
        for code, of_split in found.overlap.items()
    ]
    note = (
        "Distinct sentences whose pieces are those of a sentence of the other split. Of "
        f"{pivot} there are none, unless the source gave both valid and test: its text decides the "
        f"split. Other languages may say two {pivot} sentences in the same words."
    )
    return Table("Sentences in two splits", ["language", *columns], rows, [note])


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


def fill_table(fills: Mapping[tuple[int, float], Mapping[str, float]]) -> Table:
    """The share of slots filled, by batch size, temperature and layout."""
    rows = [
        [f"{tokens:,}", f"{temperature:g}"]
        + [f"{of[layout]:.1%}" if layout in of else MISSING for layout in LAYOUTS]
        for (tokens, temperature), of in fills.items()
    ]
    note = (
        f"In the first window of a training. {MISSING}: a sentence is longer than a packed batch."
    )
    return Table("Slots filled", ["batch.tokens", "T", *LAYOUTS], rows, [note])
