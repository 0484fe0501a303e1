"""What masks do: the likelihood of the test sets under other masks than a model's own.

Each arm is a model with some masks, compared with the same model as it was trained: the dense model
with the masks identified on it, with random ones of the same sizes and with those of other k; the
specialised model without its masks, or those of one stack, and with the masks of other languages.
Teacher-forced and without dropout, so that nothing is random but the draw of random masks.

Two ratios say whether the neurons matter. Of the penalties that masks bring to a model that was not
trained with them, the identified masks' over the random ones'; and of the harm that another
language's masks do, pivot→X's over X→pivot's. The bars are those of a prototype on real text, which
had 0.35 and 0.14 for the first and 53 for the second.

A meaning that is in several test sets is drawn for all of them at once: en-de and de-en are the
same sentences, so their changes are not independent.

Shape suffixes: S resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from nsmt.data.corpus import TokenTable
from nsmt.evaluation.groups import Group
from nsmt.evaluation.significance import (
    Difference,
    Floats,
    likelihood_statistics,
    resample,
    summarise,
    units_of,
)
from nsmt.evaluation.translation import likelihoods
from nsmt.languages import Direction, LanguageTable
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.loss import not_numbers
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.random_sets import random_like
from nsmt.neurons.selection import cumulative, keep_all
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.probing.relations import most_similar, neighbours, swapped
from nsmt.probing.settings import InterventionSettings

# What arms are called, in results too.
ARM_DENSE, ARM_CONTINUED, ARM_SPECIALISED = "dense", "continue-dense", "specialised"
IDENTIFIED, ARM_RANDOM = f"{ARM_DENSE}, identified masks", f"{ARM_DENSE}, random masks"
MASKS_OFF = "masks off"
ENCODER_OFF, DECODER_OFF = "encoder masks off", "decoder masks off"
NEIGHBOUR, MOST_SIMILAR = "masks of the neighbour", "masks of the most similar"
PENALTY_BAR: Final = 0.5
SWAP_BAR: Final = 10.0


@dataclass(frozen=True, slots=True)
class Arm:
    """A model with masks, or None for all neurons, and the arm that it is compared with."""

    trained: TrainedModel
    base: str | None = None
    # The directions measured; None for all.
    directions: tuple[Direction, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """Is one mean change so many times another, or at most?

    `value` is None where the denominator is not positive. `margin` is the distance from the bar in
    nats, positive where it holds: its interval says whether the verdict is more than noise.
    """

    name: str
    numerator: float
    denominator: float
    value: float | None
    bar: float
    at_least: bool
    holds: bool
    margin: Difference


def dense_arms(
    dense: TrainedModel,
    identified: NeuronAtlas,
    statistics: ActivationStatistics,
    settings: InterventionSettings,
) -> dict[str, Arm]:
    """The dense model, and it with masks that it was not trained with."""
    arms = {
        ARM_DENSE: Arm(replace(dense, atlas=None)),
        IDENTIFIED: Arm(replace(dense, atlas=identified), ARM_DENSE),
    }
    for seed in settings.random_seeds:
        atlas = random_like(identified, seed=seed)
        arms[random_name(seed)] = Arm(replace(dense, atlas=atlas), ARM_DENSE)
    for k in settings.k:
        atlas = cumulative(statistics, lambda task, site, k=k: k)  # type: ignore[misc]  # noqa: ARG005
        arms[f"{ARM_DENSE}, k = {k:g}"] = Arm(replace(dense, atlas=atlas), ARM_DENSE)
    return arms


def specialised_arms(
    specialised: TrainedModel, languages: LanguageTable, *, pivot: str
) -> tuple[dict[str, Arm], dict[str, dict[Direction, Direction]]]:
    """The specialised model with masks off or another's, and whose masks each direction gets.

    A model without masks is a ValueError.
    """
    own = specialised.atlas
    if own is None:
        raise ValueError("a model without masks has none to take away")
    arms = {
        ARM_SPECIALISED: Arm(specialised),
        MASKS_OFF: Arm(replace(specialised, atlas=None), ARM_SPECIALISED),
        ENCODER_OFF: Arm(
            replace(specialised, atlas=keep_all(own, except_in="decoder")), ARM_SPECIALISED
        ),
        DECODER_OFF: Arm(
            replace(specialised, atlas=keep_all(own, except_in="encoder")), ARM_SPECIALISED
        ),
    }
    directions = specialised.directions
    partners = {
        NEIGHBOUR: neighbours(directions, languages, pivot=pivot),
        MOST_SIMILAR: most_similar(own, directions, languages, pivot=pivot),
    }
    for name, partner in partners.items():
        if partner:
            atlas = swapped(own, partner)
            arms[name] = Arm(replace(specialised, atlas=atlas), ARM_SPECIALISED, tuple(partner))
    return arms, partners


def random_name(seed: int) -> str:
    """What the arm of one random draw is called."""
    return f"{ARM_RANDOM} {seed}"


def measured(
    arms: Mapping[str, Arm],
    tables: Mapping[Direction, TokenTable],
    *,
    tokens: int,
    device: torch.device | str = "cpu",
    advance: Callable[[str], object] = lambda _: None,
) -> dict[str, dict[Direction, tuple[np.ndarray, np.ndarray]]]:
    """The nll and target tokens of each sentence under each arm; `advance` hears of each arm.

    A likelihood that is no number is a CheckpointError.
    """
    found = {}
    for name, arm in arms.items():
        chosen = {d: t for d, t in tables.items() if arm.directions is None or d in arm.directions}
        found[name] = likelihoods(arm.trained, chosen, tokens=tokens, device=device)
        if not all(np.isfinite(nll).all() for nll, _ in found[name].values()):
            raise not_numbers(f"'{name}'")
        advance(name)
    return found


class Changes:
    """Mean nll of arms, and paired differences to their bases, by direction and over groups."""

    def __init__(
        self,
        arms: Mapping[str, Arm],
        nlls: Mapping[str, Mapping[Direction, tuple[np.ndarray, np.ndarray]]],
        *,
        samples: int,
        seed: int,
        meanings: Mapping[Direction, Sequence[str]],
    ) -> None:
        """`meanings`, one a sentence, are drawn: the same ones for all directions."""
        units = units_of(meanings)
        self._base = {name: arm.base for name, arm in arms.items()}
        self._value: dict[str, dict[Direction, float]] = {name: {} for name in arms}
        self._drawn: dict[str, dict[Direction, Floats]] = {name: {} for name in arms}
        for direction in dict.fromkeys(d for of_arm in nlls.values() for d in of_arm):
            entries = {
                name: likelihood_statistics(*of_arm[direction])
                for name, of_arm in nlls.items()
                if direction in of_arm
            }
            drawn = resample(entries, samples=samples, seed=seed, units=units[direction])
            for name, entry in entries.items():
                self._value[name][direction] = entry.corpus_value()
                self._drawn[name][direction] = drawn[name]

    def directions(self, name: str) -> list[Direction]:
        """What the arm was measured on."""
        return list(self._value[name])

    def nll(self, name: str, directions: Sequence[Direction]) -> float:
        """The mean over directions of the nll a token."""
        return float(np.mean([self._value[name][each] for each in directions]))

    def change(self, names: Sequence[str], directions: Sequence[Direction]) -> tuple[float, Floats]:
        """The mean change of some arms against their bases: observed, and on resamples [S]."""
        observed, drawn = [], []
        for name in names:
            base = self._base[name]
            if base is None:
                raise ValueError(f"{name} is compared with nothing")
            for each in directions:
                observed.append(self._value[name][each] - self._value[base][each])
                drawn.append(self._drawn[name][each] - self._drawn[base][each])
        return float(np.mean(observed)), np.mean(drawn, axis=0)

    def difference(self, names: Sequence[str], directions: Sequence[Direction]) -> Difference:
        """The same with interval and p."""
        return summarise(*self.change(names, directions))

    def ratio(
        self,
        name: str,
        above: tuple[Sequence[str], Sequence[Direction]],
        below: tuple[Sequence[str], Sequence[Direction]],
        *,
        bar: float,
        at_least: bool,
    ) -> Ratio:
        """Compare two changes, each of some arms on some directions, with a bar."""
        (over, over_S), (under, under_S) = self.change(*above), self.change(*below)
        sign = 1 if at_least else -1
        margin = summarise(sign * (over - bar * under), sign * (over_S - bar * under_S))
        # A ratio of changes that do no harm says nothing, whatever its size.
        harmful = over > 0 if at_least else under > 0
        return Ratio(
            name=name,
            numerator=over,
            denominator=under,
            value=over / under if under > 0 else None,
            bar=bar,
            at_least=at_least,
            holds=harmful and margin.value >= 0,
            margin=margin,
        )


def ratios(
    changes: Changes, sides: Sequence[Group], seeds: Sequence[int], *, swaps: Sequence[str]
) -> list[Ratio]:
    """Penalty of identified over random masks by side; harm of a swap, pivot→X over X→pivot."""
    draws = [random_name(seed) for seed in seeds]
    found = [
        changes.ratio(
            f"penalty of identified / random masks, {side.name}",
            ([IDENTIFIED], side.directions),
            (draws, side.directions),
            bar=PENALTY_BAR,
            at_least=False,
        )
        for side in sides
    ]
    if len(sides) == 2:
        for name in swaps:
            measured_on = set(changes.directions(name))
            parts = [[d for d in side.directions if d in measured_on] for side in sides]
            if all(parts):
                found.append(
                    changes.ratio(
                        f"{name}, {sides[0].name} / {sides[1].name}",
                        ([name], parts[0]),
                        ([name], parts[1]),
                        bar=SWAP_BAR,
                        at_least=True,
                    )
                )
    return found


def plain_changes(
    changes: Changes, arms: Mapping[str, Arm], groups: Sequence[Group], seeds: Sequence[int]
) -> dict[str, Any]:
    """All numbers as plain data: by arm, of directions and of groups that the arm covers."""
    found: dict[str, Any] = {"arms": {}, "random": {}}
    for name, arm in arms.items():
        own = changes.directions(name)
        covered = {g.name: g.directions for g in groups if set(g.directions) <= set(own)}
        found["arms"][name] = {
            "base": arm.base,
            "directions": {str(d): _entry(changes, name, [d], arm.base) for d in own},
            "groups": {key: _entry(changes, name, d, arm.base) for key, d in covered.items()},
        }
    draws = [random_name(seed) for seed in seeds]
    for group in groups:
        values = [changes.change([name], group.directions)[0] for name in draws]
        found["random"][group.name] = {
            "change": asdict(changes.difference(draws, group.directions)),
            "lowest": min(values),
            "highest": max(values),
        }
    return found


def _entry(
    changes: Changes, name: str, directions: Sequence[Direction], base: str | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {"nll": changes.nll(name, directions)}
    if base is not None:
        entry["change"] = asdict(changes.difference([name], directions))
    return entry
