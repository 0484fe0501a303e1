"""Pairs of English, German and French rows, cleaned and separated as preparation does it."""

from nsmt.data.blocks import clean_pairs, cleaned_pair, columns, texts
from nsmt.data.kept import drop_repeated, separate
from nsmt.data.settings import CleaningSettings
from nsmt.data.sources.synthetic import SyntheticSettings
from nsmt.data.split import SPLITS
from nsmt.data.tally import Tally
from nsmt.data.workers import Workers

PAIRS = ("en-de", "fr-en", "de-fr")


class Rows:
    """A source of pairs that say rows of (en, de, fr): the same train for all of them."""

    def __init__(self, train, given=None):
        self.train, self.given = train, given or {}

    def splits(self, pair):
        return ("train", *(split for of_pair, split in self.given if of_pair == str(pair)))

    def read(self, pair, split):
        columns = {"en": 0, "de": 1, "fr": 2}
        for row in self.train if split == "train" else self.given[str(pair), split]:
            yield row[columns[pair.source]], row[columns[pair.target]]


def corpus_settings(**more):
    more = {"pairs": PAIRS, "cleaning": CleaningSettings(steps=("whitespace", "empty"))} | more
    return SyntheticSettings(source="synthetic", **more)


def decided(source, folder, **more):
    """The pairs of a source after cleaning, deduplication and separation, and their counts."""
    options, tally = corpus_settings(**more), Tally()
    with Workers(1) as workers:
        clean_pairs(source, options, folder=folder, workers=workers, advance=lambda: None)
    pairs = [cleaned_pair(folder, p, source.splits(p), tally) for p in options.parsed_pairs]
    for cleaned in pairs:
        drop_repeated(cleaned, tally)
    separate(pairs, options, tally)
    return pairs, tally


def kept_texts(cleaned, name):
    """The rows of a split that are kept."""
    found = []
    for path, kept in zip(cleaned.blocks, cleaned.kept, strict=True):
        (split,) = columns(path, "split")
        found += zip(*texts(path, kept & (split == SPLITS.index(name))), strict=True)
    return found
