"""What is known of languages beside their text: family, script, resource class, word order.

lang2vec, which has more of it, needs `pkg_resources`, which setuptools no longer has; the table
here is small, and says where it is from. Its orders hardly part the languages of one family.

Shape suffixes: L languages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import yaml

from nsmt.languages import OTHER, Language
from nsmt.probing.ranks import Floats

_TABLE: Final = Path(__file__).parent / "languages.yaml"
# Of the five orders, so many must be known of both languages: the table has four of each at least.
_LEAST: Final = 3


@cache
def _table() -> dict[str, tuple[int | None, tuple[str | None, ...]]]:
    rows = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return {code: (row[0], tuple(row[1:])) for code, row in rows.items()}


def resource_class(code: str) -> int | None:
    """From 0 (nothing) to 5 (most), after Joshi et al. 2020; None if not known."""
    return _table().get(code, (None, ()))[0]


def _orders(code: str) -> tuple[str | None, ...]:
    return _table().get(code, (None, ()))[1]


def order_distance(one: str, other: str) -> float | None:
    """The share of word orders that differ, of those known of both; None if these are too few."""
    both = zip(_orders(one), _orders(other), strict=False)
    pairs = [(mine, theirs) for mine, theirs in both if None not in (mine, theirs)]
    if len(pairs) < _LEAST:
        return None
    return sum(mine != theirs for mine, theirs in pairs) / len(pairs)


def same_family(one: Language, other: Language) -> float | None:
    """1 or 0; None if one's family is not known."""
    if OTHER in (one.family, other.family):
        return None
    return float(one.family == other.family)


def same_script(one: Language, other: Language) -> float | None:
    """1 or 0, by the scripts of the FLORES codes; None if one has none."""
    scripts = [language.flores.partition("_")[2] for language in (one, other)]
    return float(scripts[0] == scripts[1]) if all(scripts) else None


def order_nearness(one: Language, other: Language) -> float | None:
    """The share of word orders that two languages have in common; None if too few are known."""
    distance = order_distance(one.code, other.code)
    return None if distance is None else 1 - distance


RELATIONS: Final[dict[str, Callable[[Language, Language], float | None]]] = {
    "same family": same_family,
    "same script": same_script,
    "word order in common": order_nearness,
}


def relation_matrix(codes: Sequence[str], relation: str, known: Mapping[str, Language]) -> Floats:
    """A relation between every two languages: [L, L], NaN where it is not known."""
    of = RELATIONS[relation]
    found = [[of(known[one], known[other]) for other in codes] for one in codes]
    return np.array([[np.nan if each is None else each for each in row] for row in found], float)


def known_places(relation_LL: Floats) -> list[int]:
    """The languages of which a relation is known, even to themselves."""
    return [place for place, known in enumerate(~np.isnan(relation_LL.diagonal())) if known]
