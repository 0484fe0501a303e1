"""What is done to language neurons: one primitive, composed and applied row by row of a batch.

The operations of Language Arithmetics (arXiv 2507.22608; its code, as there is no formula for
some) are affine in the activation, with noise for two of ours:

    a ← scale·a + shift + noise·ε,   ε ~ N(0, 1)

so that any sequence of them, in the order in which they are written, is again one such step. With μ
the mean and σ the deviation of the neuron's activation on text of the language:

| operation | scale | shift | noise |
|---|---|---|---|
| `constant` | 0 | value | |
| `add` | 1 | μ | |
| `replace` | 0 | μ | |
| `multiply` | value | | |
| `diffmean` | 1 | μ − mean of μ over the other languages | |
| `mean` | 0 | mean of μ over all languages | |
| `random` | 0 | | value·σ |
| `noise` | 1 | | value·σ |

`strength` s moves from doing nothing (0) to the operation (1) and beyond: scale 1 + s·(scale − 1),
shift and noise times s. For σ, text of all languages is pooled. `mean`, `random` and `noise` are
our reading of ways to switch off that its fallback script offers: there `mean` is the mean over all
neurons of the layer at the token, and the two draw from N(0, 0.1²) and N(0, 5²) for every neuron.
Its `mask` and `invert` are `multiply` by -0.1 and -1.

Shape suffixes: F neurons of a site, P programs, B rows of a batch, S positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nsmt.errors import ConfigurationError
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.language_rules import specificity
from nsmt.neurons.moments import Moment
from nsmt.neurons.random_sets import permutation, permuted
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings

Operation = Literal["constant", "add", "replace", "multiply", "diffmean", "mean", "random", "noise"]

# What an operation has to know of activations.
MOMENTS: Final[dict[Operation, tuple[Moment, ...]]] = {
    "constant": (),
    "multiply": (),
    **dict.fromkeys(("add", "replace", "diffmean", "mean"), ("sum",)),
    **dict.fromkeys(("random", "noise"), ("sum", "square")),
}
NOISY: Final = frozenset[Operation]({"random", "noise"})

# Those which do nothing, or switch off, where nobody says how much.
_VALUED: Final = NOISY | {"constant", "multiply"}


class OperationSettings(Settings):
    """An operation, and on which of a language's neurons."""

    operation: Operation
    value: float | None = Field(
        None, description="of constant, multiply, random and noise, which need one"
    )
    layers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = Field(
        None, description="from 0; null: all"
    )
    ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="of all languages' neurons, the most specific ones by entropy"
    )

    @model_validator(mode="after")
    def _has_its_value(self) -> Self:
        if self.operation in _VALUED and self.value is None:
            raise ValueError(f"operation={self.operation} needs a value, as 2.0 of multiply")
        if self.operation not in _VALUED and self.value is not None:
            raise ValueError(
                f"a value means nothing to operation={self.operation}: leave it out, or null"
            )
        return self


class Change(OperationSettings):
    """What is done to the neurons of whichever language it is done to."""

    strength: float = 1.0

    def of(self, *languages: str) -> Intervention:
        """The same, done to these languages."""
        return Intervention(languages=languages, **dict(self))


class Intervention(Change):
    """A change of the neurons of some languages; neurons of several count once.

    Where the operation needs a language's mean, `languages` has to be one.
    """

    languages: Annotated[tuple[str, ...], Field(min_length=1)]

    def touches(self, site: Site) -> bool:
        """Whether any neuron of a site may be changed."""
        return self.strength != 0 and (self.layers is None or site.layer in self.layers)


# In order: the first is done first.
Program = tuple[Intervention, ...]


@dataclass(frozen=True)
class LanguageNeurons:
    """Languages' neurons and what is known of their activations; both of the same model.

    `given_ranks` are in place of those that the statistics tell.
    """

    atlas: NeuronAtlas
    statistics: ActivationStatistics
    given_ranks: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        chosen_of = self.atlas.provenance.get("statistics")
        if chosen_of not in (None, self.statistics.provenance):
            raise ConfigurationError(
                "the neurons were chosen by other statistics than these",
                fix="give both of one command, or let it choose neurons again",
            )

    @cached_property
    def ranks(self) -> Mapping[str, Tensor]:
        """Each neuron's place among those of any language, the most specific first: int64 [F]."""
        if self.given_ranks is not None:
            return self.given_ranks
        return specificity(self.atlas, self.statistics)

    @cached_property
    def count(self) -> int:
        """How many neurons are of any language."""
        return sum(int(self.atlas.masks(site).any(0).sum()) for site in self.atlas.sites)

    def permuted(self, *, seed: int) -> LanguageNeurons:
        """As many random neurons at each site, shared by as many languages: the control.

        They keep the ranks of those whose place they take, and have means of their own.
        """
        ranks = {
            site.name: self.ranks[site.name][permutation(site, seed=seed)]
            for site in self.atlas.sites
        }
        return LanguageNeurons(permuted(self.atlas, seed=seed), self.statistics, ranks)

    def members(self, languages: Sequence[str], site: Site, *, ratio: float = 1.0) -> Tensor:
        """The neurons of any of some languages: bool [F].

        With a `ratio`, those alone that are among the round(ratio·n) most specific of the n neurons
        of all languages. Of LAPE at a rate these are, to rounding, LAPE's at ratio·rate, if its bar
        left as many as the rate asked for.
        """
        member_F = torch.stack([self.atlas.mask(language, site) for language in languages]).any(0)
        if ratio < 1:
            member_F &= self.ranks[site.name] < round(ratio * self.count)
        return member_F

    def mean(self, language: str, site: Site) -> Tensor:
        """μ of a language: float64 [F]."""
        return self.statistics.mean("sum", site)[self.statistics.row(language)].cpu()

    def difference(self, language: str, site: Site) -> Tensor:
        """μ of a language less the mean of the others' μ: float64 [F]."""
        means_TF = self.statistics.mean("sum", site).cpu()
        own = self.statistics.row(language)
        others = [row for row in range(len(means_TF)) if row != own]
        if not others:
            raise ConfigurationError(
                "diffmean compares a language with others, and there is one alone",
                fix="gather statistics of two languages or more",
            )
        return means_TF[own] - means_TF[others].mean(0)

    def pooled_mean(self, site: Site) -> Tensor:
        """The mean of μ over all languages, each counting the same: float64 [F]."""
        return self.statistics.mean("sum", site).cpu().mean(0)

    def pooled_deviation(self, site: Site) -> Tensor:
        """σ over the tokens of all languages: float64 [F]."""
        tokens_T = self.statistics.units[site.name].double().cpu()
        share_1T = (tokens_T / tokens_T.sum().clamp(min=1))[None]
        mean_F = (share_1T @ self.statistics.mean("sum", site).cpu())[0]
        square_F = (share_1T @ self.statistics.mean("square", site).cpu())[0]
        return (square_F - mean_F.square()).clamp(min=0).sqrt()


@dataclass(slots=True)
class Affine:
    """What is done at one site: float64 [F] each; `touched` says where anything is."""

    touched_F: Tensor
    scale_F: Tensor
    shift_F: Tensor
    noise_F: Tensor

    @classmethod
    def identity(cls, site: Site) -> Affine:
        """Nothing is done."""
        zero_F = torch.zeros(site.width, dtype=torch.float64)
        nothing_F = torch.zeros(site.width, dtype=torch.bool)
        return cls(nothing_F, zero_F + 1, zero_F.clone(), zero_F.clone())

    def then(self, member_F: Tensor, scale: float, shift_F: Tensor, noise_F: Tensor) -> None:
        """Do one operation on the member neurons after all that is done already."""
        self.touched_F |= member_F
        self.scale_F = torch.where(member_F, scale * self.scale_F, self.scale_F)
        self.shift_F = torch.where(member_F, scale * self.shift_F + shift_F, self.shift_F)
        # Two draws of independent noise are one draw of both variances.
        both_F = torch.hypot(scale * self.noise_F, noise_F)
        self.noise_F = torch.where(member_F, both_F, self.noise_F)


def require_effective(program: Program, neurons: LanguageNeurons) -> None:
    """A ConfigurationError for an intervention that would be none, whatever its strength."""
    layers = {site.layer for site in neurons.atlas.sites}
    if program and neurons.count == 0:
        raise ConfigurationError(
            f"no neuron of the {neurons.atlas.sites[0].stack} is of any language",
            fix="raise selection.rate (of the rule cumulative selection.k), or lower "
            "selection.percentile",
        )
    for step in program:
        if unknown := sorted(set(step.layers or ()) - layers):
            raise ConfigurationError(
                f"layers: there is no layer {', '.join(map(str, unknown))}",
                fix=f"choose from {min(layers)} to {max(layers)}",
            )
        if round(step.ratio * neurons.count) == 0:
            raise ConfigurationError(
                f"ratio={step.ratio:g} of {neurons.count} neurons is none",
                fix="choose a larger ratio, or a larger rate of the selection",
            )


def affine(program: Program, neurons: LanguageNeurons, site: Site) -> Affine:
    """What a program does at a site."""
    done = Affine.identity(site)
    for intervention in program:
        if not intervention.touches(site):
            continue
        member_F = neurons.members(intervention.languages, site, ratio=intervention.ratio)
        scale, shift_F, noise_F = _operation(intervention, neurons, site)
        strength = intervention.strength
        done.then(member_F, 1 + strength * (scale - 1), strength * shift_F, strength * noise_F)
    return done


def _operation(
    intervention: Intervention, neurons: LanguageNeurons, site: Site
) -> tuple[float, Tensor, Tensor]:
    """Scale, shift and noise of an operation at full strength."""
    zero_F, value = torch.zeros(site.width, dtype=torch.float64), intervention.value or 0.0
    match intervention.operation:
        case "constant":
            return 0.0, zero_F + value, zero_F
        case "multiply":
            return value, zero_F, zero_F
        case "mean":
            return 0.0, neurons.pooled_mean(site), zero_F
        case "random":
            return 0.0, zero_F, value * neurons.pooled_deviation(site)
        case "noise":
            return 1.0, zero_F, value * neurons.pooled_deviation(site)
        case "add":
            return 1.0, neurons.mean(_one_language(intervention), site), zero_F
        case "replace":
            return 0.0, neurons.mean(_one_language(intervention), site), zero_F
        case "diffmean":
            return 1.0, neurons.difference(_one_language(intervention), site), zero_F


def _one_language(intervention: Intervention) -> str:
    if len(intervention.languages) > 1:
        raise ConfigurationError(
            f"'{intervention.operation}' uses the mean of a language, "
            f"{', '.join(intervention.languages)} are several",
            fix="write one intervention a language, in the order in which they are to be done",
        )
    return intervention.languages[0]
