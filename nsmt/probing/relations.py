"""How directions relate: a shared language, a shared family, a neighbour.

Languages have one fixed order: families in the order in which the corpus names them first, and
within a family the corpus's own order (`LanguageTable.by_family`). The neighbour of a language is
the next in that order, and the last one's is the first, so that most neighbours are relatives and
no language is the neighbour of two. Nothing here knows a language by its position in a model.

Shape suffixes: T directions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nsmt.languages import Direction, LanguageTable
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import site_iou
from nsmt.probing.language_facts import same_family

Pair = tuple[int, int]
SAME_SOURCE, SAME_TARGET = "same source", "same target"
RELATED, UNRELATED = "related", "unrelated"
NOTHING_SHARED = "no language shared"
RELATIONS = (SAME_SOURCE, SAME_TARGET, RELATED, UNRELATED, NOTHING_SHARED)


def with_pivot(directions: Sequence[Direction], *, pivot: str) -> list[Direction]:
    """The directions that read or write the pivot, in their order."""
    return [each for each in directions if pivot in (each.source, each.target)]


def relations(directions: Sequence[Direction], languages: LanguageTable) -> dict[str, list[Pair]]:
    """The pairs of directions in each relation, as places in `directions`, first before second.

    Pairs that share their source or their target are related if the languages of the other side
    are of one family, unrelated if not, and neither if a family is not known.
    """
    found: dict[str, list[Pair]] = {name: [] for name in RELATIONS}
    for (i, one), (j, other) in itertools.combinations(enumerate(directions), 2):
        if one.source == other.source:
            found[SAME_SOURCE].append((i, j))
            sides = one.target, other.target
        elif one.target == other.target:
            found[SAME_TARGET].append((i, j))
            sides = one.source, other.source
        else:
            if not {one.source, one.target} & {other.source, other.target}:
                found[NOTHING_SHARED].append((i, j))
            continue
        match same_family(*(languages[code] for code in sides)):
            case 1.0:
                found[RELATED].append((i, j))
            case 0.0:
                found[UNRELATED].append((i, j))
    return found


def mean_of(matrix_TT: Tensor, pairs: Sequence[Pair]) -> tuple[float | None, int]:
    """The mean of the defined values of some pairs, both ways round, and how many pairs have one.

    None where there are none; a pair counts where either value is a number.
    """
    if not pairs:
        return None, 0
    places = torch.tensor(pairs)
    both = torch.stack(
        (matrix_TT[places[:, 0], places[:, 1]], matrix_TT[places[:, 1], places[:, 0]])
    )
    means = both.nanmean(0)
    defined = means[~means.isnan()]
    return (defined.mean().item() if len(defined) else None), len(defined)


def neighbours(
    directions: Sequence[Direction], languages: LanguageTable, *, pivot: str
) -> dict[Direction, Direction]:
    """For pivot→X the direction pivot→X', for X→pivot X'→pivot, X' being the neighbour of X.

    Only languages that have a direction on that side count; a side with one language has no
    neighbours.
    """
    found: dict[Direction, Direction] = {}
    for side in _sides(directions, pivot=pivot):
        by_language = {each.other(pivot): each for each in side}
        ordered = [by_language[e.code] for e in languages.by_family() if e.code in by_language]
        if len(ordered) > 1:
            found |= dict(zip(ordered, [*ordered[1:], ordered[0]], strict=True))
    return found


def most_similar(
    atlas: NeuronAtlas,
    directions: Sequence[Direction],
    languages: LanguageTable,
    *,
    pivot: str,
) -> dict[Direction, Direction]:
    """For each direction the other one of its side whose sets overlap most, on average over sites.

    Of equals it is the first in the order of languages.
    """
    rank = {entry.code: place for place, entry in enumerate(languages.by_family())}
    found: dict[Direction, Direction] = {}
    for side in _sides(directions, pivot=pivot):
        tasks = [str(each) for each in side]
        if len(tasks) < 2:
            continue
        matrices = [site_iou(atlas, tasks, site) for site in atlas.sites]
        iou_TT = torch.stack(matrices).mean(0)
        for i, one in enumerate(side):
            others = [j for j in range(len(side)) if j != i]
            best = max(others, key=lambda j: (iou_TT[i, j].item(), -rank[side[j].other(pivot)]))
            found[one] = side[best]
    return found


def swapped(atlas: NeuronAtlas, partner: Mapping[Direction, Direction]) -> NeuronAtlas:
    """For each direction of `partner` the sets of its partner, at every site."""
    rows = torch.tensor([atlas.row(str(other)) for other in partner.values()], dtype=torch.int64)
    packed = {name: bits[rows] for name, bits in atlas.packed.items()}
    provenance = {
        "operation": "swapped",
        "partner": {str(one): str(other) for one, other in partner.items()},
        "of": atlas.provenance,
    }
    return NeuronAtlas([str(each) for each in partner], atlas.sites, packed, provenance=provenance)


def _sides(directions: Sequence[Direction], *, pivot: str) -> list[list[Direction]]:
    return [
        [each for each in directions if each.source == pivot],
        [each for each in directions if each.target == pivot],
    ]
