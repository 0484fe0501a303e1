"""Do related languages share neurons, and hurt or help each other; and what goes with what.

Few languages are compared, and every two of them share one: all tests permute languages, exactly
up to eight of them. Family, script and word order go together in most sets of languages, so that no
single test says which of them it is; `pair_groups` shows the pairs that part family from script.

Shape suffixes: L languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Final

import numpy as np

from nsmt.languages import Language
from nsmt.probing.language_facts import (
    RELATIONS,
    known_places,
    relation_matrix,
    same_family,
    same_script,
)
from nsmt.probing.ranks import Floats, PermutationTest, mantel, rank_test

# All orders of eight languages; of more, so many are drawn.
PERMUTATIONS: Final = 40_320
SEED: Final = 1
# With fewer languages nothing can come out.
LEAST: Final = 4
GROUPS: Final[dict[tuple[float | None, float | None], str]] = {
    (1.0, 1.0): "same family and script",
    (1.0, 0.0): "same family, other script",
    (0.0, 1.0): "other family, same script",
    (0.0, 0.0): "other family and script",
}


def symmetric(matrix_LL: Floats) -> Floats:
    """The mean of both ways."""
    return (matrix_LL + matrix_LL.T) / 2


def pair_groups(
    matrix_LL: Floats, codes: Sequence[str], known: Mapping[str, Language]
) -> dict[str, tuple[int, float | None]]:
    """The number of pairs of each group, and the mean of their values, both ways.

    Pairs of languages of unknown family or script are of none.
    """
    found: dict[str, list[float]] = {name: [] for name in GROUPS.values()}
    both_LL = symmetric(matrix_LL)
    for (i, one), (j, other) in combinations(enumerate(codes), 2):
        pair = known[one], known[other]
        group = GROUPS.get((same_family(*pair), same_script(*pair)))
        if group is not None:
            found[group].append(float(both_LL[i, j]))
    return {name: (len(some), fmean(some) if some else None) for name, some in found.items()}


def related(
    matrix_LL: Floats, codes: Sequence[str], known: Mapping[str, Language]
) -> dict[str, tuple[int, PermutationTest]]:
    """Mantel's test of a matrix against each relation, and of how many languages it is.

    Languages of which a relation is not known are left out of its test; one of fewer than `LEAST`
    languages is left out.
    """
    both_LL = symmetric(matrix_LL)
    found = {}
    for relation in RELATIONS:
        known_LL = relation_matrix(codes, relation, known)
        kept = known_places(known_LL)
        if len(kept) < LEAST:
            continue
        some = np.ix_(kept, kept)
        test = mantel(both_LL[some], known_LL[some], permutations=PERMUTATIONS, seed=SEED)
        found[relation] = (len(kept), test)
    return found


def correlated(
    left: Mapping[str, float], right: Mapping[str, float]
) -> tuple[int, PermutationTest] | None:
    """The rank correlation of two numbers of the languages that have both, two-sided.

    None if these are fewer than `LEAST`.
    """
    codes = [code for code in left if code in right]
    if len(codes) < LEAST:
        return None
    values = ([side[code] for code in codes] for side in (left, right))
    return len(codes), rank_test(*values, permutations=PERMUTATIONS, seed=SEED)
