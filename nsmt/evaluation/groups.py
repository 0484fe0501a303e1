"""The groups of directions over which tables average, in table order.

O2M is one-to-many (pivot→X) and M2O many-to-one (X→pivot), as in Table 2 of Neuron
Specialization; the pivot is English there and a parameter here. Tiers and families are those of
the language that is not the pivot, families in the order of the language table. Directions without
the pivot are zero-shot and enter no other group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from nsmt.errors import ConfigurationError
from nsmt.languages import Direction, Language, LanguageTable

GroupKind = Literal["all", "side", "tier", "family", "zero-shot"]
Side = Literal["O2M", "M2O", "Avg"]
ALL = "All"
ZERO_SHOT = "Zero-shot"
_SIDES: tuple[Side, ...] = ("O2M", "M2O", "Avg")
_TIERS = ("High", "Med", "Low")


@dataclass(frozen=True, slots=True)
class Group:
    """Directions that a table averages over, in table order, under a name unique in the table."""

    name: str
    directions: tuple[Direction, ...]
    kind: GroupKind = "all"


@dataclass(frozen=True, slots=True)
class TierColumn:
    """One column of the paper's Table 2: a tier (or All) and a side, or the average of the two."""

    block: str
    side: Side
    directions: tuple[Direction, ...]


def groups_of(
    directions: Sequence[Direction], languages: LanguageTable, *, pivot: str
) -> list[Group]:
    """All, O2M, M2O, resource tiers (if any), families and zero-shot; empty groups are left out."""
    ordered = table_order(directions, languages, pivot=pivot)
    paired = [direction for direction in ordered if _involves(direction, pivot)]
    groups = [Group(ALL, tuple(paired), "all")]
    groups += [Group(side, _on_side(paired, side, pivot), "side") for side in _SIDES[:2]]
    tiers = tiers_of(languages, pivot=pivot)
    families = list(dict.fromkeys(each.family for each in languages.values() if each.code != pivot))
    groups += _by_property(paired, languages, pivot, "tier", tiers, lambda entry: entry.tier)
    groups += _by_property(paired, languages, pivot, "family", families, lambda each: each.family)
    zero_shot = tuple(direction for direction in ordered if not _involves(direction, pivot))
    groups.append(Group(ZERO_SHOT, zero_shot, "zero-shot"))
    return [group for group in groups if group.directions]


def tier_columns(
    directions: Sequence[Direction], languages: LanguageTable, *, pivot: str
) -> list[TierColumn]:
    """The columns of Table 2: each tier, then All, by O2M, M2O and the average of both.

    A tier or side without directions keeps its column, so that what is missing shows as missing.
    """
    ordered = table_order(directions, languages, pivot=pivot)
    paired = [direction for direction in ordered if _involves(direction, pivot)]
    blocks = {
        tier: [d for d in paired if _language(d, languages, pivot).tier == tier]
        for tier in tiers_of(languages, pivot=pivot)
    } | {ALL: paired}
    return [
        TierColumn(block, side, _on_side(members, side, pivot))
        for block, members in blocks.items()
        for side in _SIDES
    ]


def tiers_of(languages: LanguageTable, *, pivot: str) -> list[str]:
    """The resource tiers, most text first: High, Med, Low as in the paper, then others as found."""
    found = dict.fromkeys(entry.tier for entry in languages.values() if entry.code != pivot)
    named = [tier for tier in found if tier is not None]
    return [tier for tier in _TIERS if tier in named] + [t for t in named if t not in _TIERS]


def table_order(
    directions: Iterable[Direction], languages: LanguageTable, *, pivot: str
) -> list[Direction]:
    """Directions from the pivot, directions into it, then the rest, by family within each."""
    rank = {entry.code: place for place, entry in enumerate(languages.by_family())}
    found = list(dict.fromkeys(directions))
    unknown = sorted({c for d in found for c in (d.source, d.target) if c not in rank} - {pivot})
    if unknown:
        raise ConfigurationError(
            f"no family or tier is known of {', '.join(unknown)}",
            fix="describe every language of the test set in the language table",
        )

    def place(direction: Direction) -> tuple[int, int, int]:
        side = (direction.source != pivot) + (not _involves(direction, pivot))
        return side, rank.get(direction.source, -1), rank.get(direction.target, -1)

    return sorted(found, key=place)


def pivot_directions(languages: LanguageTable, *, pivot: str) -> list[Direction]:
    """Both directions between the pivot and every other language of the table, in table order."""
    others = [code for code in languages if code != pivot]
    both = [d for code in others for d in (Direction(pivot, code), Direction(code, pivot))]
    return table_order(both, languages, pivot=pivot)


def _by_property(
    paired: Sequence[Direction],
    languages: LanguageTable,
    pivot: str,
    kind: GroupKind,
    names: Sequence[str],
    read: Callable[[Language], str | None],
) -> list[Group]:
    return [
        Group(name, tuple(d for d in paired if read(_language(d, languages, pivot)) == name), kind)
        for name in names
    ]


def _language(direction: Direction, languages: LanguageTable, pivot: str) -> Language:
    return languages[direction.other(pivot)]


def _involves(direction: Direction, pivot: str) -> bool:
    return pivot in (direction.source, direction.target)


def _on_side(directions: Sequence[Direction], side: Side, pivot: str) -> tuple[Direction, ...]:
    if side == "O2M":
        return tuple(direction for direction in directions if direction.source == pivot)
    if side == "M2O":
        return tuple(direction for direction in directions if direction.target == pivot)
    return tuple(directions)
