"""In which language a system's output is: off-target rates by language identification.

Multilingual models that never saw X→Y often write the pivot, or repeat the source, instead of Y. A
rate means nothing without the identifier's own error, so the references are judged in the same way.

Rule for short texts: identifiers guess at few letters, so a text with less than so many bytes of
letters (UTF-8; bytes are what the identifier reads) is not judged. It counts as a sentence but as
in no language, so never as off-target; the share of such texts is printed beside the rate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import regex

from nsmt.data.identification import Identifier
from nsmt.evaluation.results import FurtherMetric, TestOutput
from nsmt.evaluation.significance import OFF_TARGET_KEY, share_statistics
from nsmt.languages import Direction

INTO_PIVOT: Final = "into-pivot"
INTO_SOURCE: Final = "into-source"
NOT_JUDGED: Final = "not-judged"
# Marks too: vowels of Indic scripts are marks.
_LETTERS: Final = regex.compile(r"[\p{L}\p{M}]+")


@dataclass(frozen=True, slots=True)
class Found:
    """The language of each text of a direction, None where it was not judged.

    Texts in a source language that the identifier does not know were not told from others.
    """

    direction: Direction
    languages: tuple[str | None, ...]
    source_known: bool = True

    def off_target(self) -> list[bool]:
        """Whether each text is in another language than the target's."""
        return [code not in (None, self.direction.target) for code in self.languages]

    def rates(self, *, pivot: str) -> dict[str, float]:
        """Percent of the texts off target, in the pivot, in the source language, and not judged.

        Without the source's where it is not known.
        """
        counted = {
            OFF_TARGET_KEY: sum(self.off_target()),
            INTO_PIVOT: self.languages.count(pivot),
            INTO_SOURCE: self.languages.count(self.direction.source),
            NOT_JUDGED: self.languages.count(None),
        }
        if not self.source_known:
            del counted[INTO_SOURCE]
        return {name: 100 * count / len(self.languages) for name, count in counted.items()}

    def counts(self) -> dict[str, int]:
        """How many texts are in each language, the most frequent first; "" is not judged."""
        return dict(Counter(code or "" for code in self.languages).most_common())


class Judge:
    """An identifier with the rule for short texts; equal texts are identified once."""

    def __init__(self, identifier: Identifier, *, min_letter_bytes: int) -> None:
        self._identifier, self._fewest = identifier, min_letter_bytes
        self._known: dict[str, str | None] = {}
        self.signature = f"{identifier.signature}|min-letter-bytes:{min_letter_bytes}"

    def knows(self, code: str) -> bool:
        """Whether a text can be told to be in the language: without, it has no off-target rate."""
        return code in self._identifier.languages

    def __call__(self, direction: Direction, texts: Iterable[str]) -> Found:
        """The language of each text."""
        found = tuple(self._language(text) for text in texts)
        return Found(direction, found, self.knows(direction.source))

    def _language(self, text: str) -> str | None:
        if text not in self._known:
            enough = letter_bytes(text) >= max(self._fewest, 1)
            self._known[text] = self._identifier.identify(text) if enough else None
        return self._known[text]


def letter_bytes(text: str) -> int:
    """Bytes of the letters of a text, in UTF-8."""
    return sum(len(run.encode("utf-8", "surrogatepass")) for run in _LETTERS.findall(text))


def with_off_target(
    outputs: Mapping[Direction, TestOutput],
    found: Mapping[Direction, Found],
    *,
    signature: str,
) -> dict[Direction, TestOutput]:
    """The outputs of a system with their off-target rate as a metric to compare.

    Directions that are not in `found` have none.
    """
    return {
        direction: output
        if direction not in found
        else replace(
            output,
            further={
                **output.further,
                OFF_TARGET_KEY: FurtherMetric(
                    share_statistics(found[direction].off_target(), metric=OFF_TARGET_KEY),
                    signature,
                ),
            },
        )
        for direction, output in outputs.items()
    }


def mean_rates(found: Sequence[Found], *, pivot: str) -> dict[str, float]:
    """The rates of several directions, each direction that has one counting the same."""
    of_each: dict[str, list[float]] = {}
    for each in found:
        for name, rate in each.rates(pivot=pivot).items():
            of_each.setdefault(name, []).append(rate)
    return {name: sum(rates) / len(rates) for name, rates in of_each.items()}
