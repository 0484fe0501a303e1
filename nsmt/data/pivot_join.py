"""Test text of directions that the corpus has no text of, joined by the pivot.

A corpus of pairs with a pivot has no text of X→Y, but the same pivot sentence may stand in the test
sets of both pairs: then its X side and its Y side are translations of each other. They are joined
by the exact sentence. A sentence that stands there several times counts once, with the first
translation on either side, so that what is joined does not depend on the other pair's repetitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nsmt.data.corpus import Corpus
from nsmt.data.text import digest
from nsmt.languages import Direction

Rows = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TestText:
    """Test sentences of a direction; `meanings` tell sentences that say the same in all directions.

    `joined` is False if the corpus has test text of the direction itself.
    """

    __test__: ClassVar[bool] = False

    meanings: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    joined: bool

    def __len__(self) -> int:
        return len(self.meanings)

    def at_most(self, number: int | None) -> TestText:
        """So many of the sentences, in their order; None: all.

        Chosen by a hash of what they say: the same in all directions, from all of the test set.
        """
        if number is None or len(self) <= number:
            return self
        ranked = sorted(range(len(self)), key=lambda row: digest(self.meanings[row]))
        kept = sorted(ranked[:number])
        meanings, sources, targets = (
            tuple(each[row] for row in kept) for each in (self.meanings, self.sources, self.targets)
        )
        return TestText(meanings, sources, targets, self.joined)


def join(of_source: Rows, of_target: Rows) -> TestText:
    """Join rows of (pivot sentence, translation), in the order of the first."""
    sources, targets = _first_translations(of_source), _first_translations(of_target)
    meanings = tuple(sentence for sentence in sources if sentence in targets)
    return TestText(
        meanings,
        tuple(sources[sentence] for sentence in meanings),
        tuple(targets[sentence] for sentence in meanings),
        joined=True,
    )


def unseen_texts(
    corpus: Corpus, directions: Iterable[Direction], *, split: str = "test"
) -> dict[Direction, TestText]:
    """The corpus's own text of each direction, or what joining by the pivot gives; maybe empty."""
    with_pivot: dict[str, Rows] = {}

    def rows(language: str) -> Rows:
        if language not in with_pivot:
            with_pivot[language] = _with_pivot(corpus, language, split)
        return with_pivot[language]

    return {
        direction: _own(corpus, direction, split)
        or join(rows(direction.source), rows(direction.target))
        for direction in directions
    }


def meanings(
    corpus: Corpus, directions: Iterable[Direction], *, split: str = "test"
) -> dict[Direction, list[str]]:
    """What each sentence of a split says: its pivot side, by which test sets of pairs overlap.

    Both ways of a pair say the same. A pair without the pivot is told by its first language, and
    shares its sentences with nothing but itself and pairs that begin alike.
    """
    found = {}
    for direction in directions:
        pair = direction if direction in corpus.pairs else direction.reverse
        sources, targets = corpus.texts(direction, split)
        sides = {direction.source: sources, direction.target: targets}
        if corpus.pivot in sides:
            found[direction] = sides[corpus.pivot]
        else:
            found[direction] = [f"{pair.source}\t{sentence}" for sentence in sides[pair.source]]
    return found


def _first_translations(rows: Rows) -> dict[str, str]:
    found: dict[str, str] = {}
    for sentence, translation in rows:
        found.setdefault(sentence, translation)
    return found


def _with_pivot(corpus: Corpus, language: str, split: str) -> Rows:
    direction = Direction(corpus.pivot, language)
    if not _has(corpus, direction):
        return []
    return list(zip(*corpus.texts(direction, split), strict=True))


def _own(corpus: Corpus, direction: Direction, split: str) -> TestText | None:
    """Text of the direction itself; what its sentences say is told by the pair's first side."""
    if not _has(corpus, direction):
        return None
    sources, targets = (tuple(side) for side in corpus.texts(direction, split))
    meanings = sources if direction in corpus.pairs else targets
    return TestText(meanings, sources, targets, joined=False) if sources else None


def _has(corpus: Corpus, direction: Direction) -> bool:
    return direction in corpus.pairs or direction.reverse in corpus.pairs
