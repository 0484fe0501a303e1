"""Whose adapters a direction trains: its own, or those of a family of languages.

`adapter_pair` (Bapna & Firat 2019, arXiv 1909.08478) has one set for each direction;
`adapter_family` (Chronopoulou et al. 2023, arXiv 2209.15236) has one for each family, shared by all
directions between the pivot and its languages, both ways. X→Y without the pivot has its family's if
X and Y are of one; between two families, no set can be trained to read the one and write the other.
A language of unknown family is a family of its own: that nothing is known of two makes them no
relatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from nsmt.errors import AdapterError
from nsmt.languages import OTHER, Direction, Language, LanguageTable
from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import Adapted
from nsmt.models.adapters import AdapterSettings
from nsmt.models.settings import Size


class AdapterMethod(Method):
    """Adapters on the frozen dense model, a set for each direction or family."""

    labels: ClassVar = {
        "adapter_pair": "adapters of directions",
        "adapter_family": "adapters of families",
    }
    not_probed: ClassVar = "its directions have weights of their own, and no neurons"
    name: Literal["adapter_pair", "adapter_family"] = "adapter_pair"
    bottleneck: Size = Field(256, description="width of an adapter")

    def refusal(
        self, directions: Sequence[Direction], languages: LanguageTable, *, pivot: str
    ) -> str | None:
        """A direction between two families has no adapters of either."""
        if self.name == "adapter_family":
            try:
                family_groups(directions, languages, pivot=pivot)
            except AdapterError as error:
                return error.problem
        return None

    def treatment(self, evidence: Evidence) -> Adapted:
        """Whose adapters each trained direction has."""
        directions = [Direction.parse(task) for task in evidence.statistics.tasks]
        if self.name == "adapter_pair":
            groups = pair_groups(directions)
        else:
            groups = family_groups(directions, evidence.languages, pivot=evidence.pivot)
        return Adapted(groups, AdapterSettings(bottleneck=self.bottleneck))


def pair_groups(directions: Iterable[Direction]) -> dict[Direction, str]:
    """Each direction by itself."""
    return {direction: str(direction) for direction in directions}


def family_groups(
    directions: Iterable[Direction], languages: Mapping[str, Language], *, pivot: str
) -> dict[Direction, str]:
    """The family of the language that is not the pivot, its own code if that is not known.

    AdapterError for a direction without the pivot between two families.
    """
    return {direction: _family(direction, languages, pivot=pivot) for direction in directions}


def _family(direction: Direction, languages: Mapping[str, Language], *, pivot: str) -> str:
    sides = [code for code in (direction.source, direction.target) if code != pivot]
    known = {code: languages[code].family for code in sides}
    families = list(dict.fromkeys(code if of == OTHER else of for code, of in known.items()))
    if len(families) > 1:
        raise AdapterError(
            f"{direction} lies between two families ({' and '.join(families)}), and adapters of "
            "families belong to one",
            fix=f"translate from or into '{pivot}', or within a family",
        )
    return families[0]
