"""Language arithmetic on a translation model: which programs there are, and with whose neurons.

Language Arithmetics (arXiv 2507.22608) steers language models by what it adds to the neurons of a
language and what it switches off. Here a program is written in roles, and a direction says which
languages play them: `target` and `source` are its own, `pivot` is the corpus's. Every program is
also done with as many random neurons at each site, shared by as many languages, in place of the
languages' (the control).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from nsmt.errors import ConfigurationError
from nsmt.evaluation.zero_shot import UnseenSettings
from nsmt.languages import Direction
from nsmt.neurons.language_selection import LanguageSelectionSettings, select_languages
from nsmt.neurons.sites import STACKS, language_of
from nsmt.neurons.stack_languages import languages_of_stack
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings
from nsmt.steering.interventions import Intervention, LanguageNeurons, OperationSettings
from nsmt.steering.translation_models import Programs

Role = Literal["source", "target", "pivot"]
# Operations that take the mean of a language, of which there has to be one.
_OF_ONE: Final = ("add", "replace", "diffmean")


class Step(OperationSettings):
    """An operation on the neurons of the languages that play some roles in a direction."""

    of: Annotated[tuple[Role, ...], Field(min_length=1)]
    strength: float | None = Field(None, description="null: each of eval.strengths")
    stack: Literal["encoder", "decoder"] = "decoder"

    @model_validator(mode="after")
    def _one_mean(self) -> Self:
        if self.operation in _OF_ONE and len(self.of) > 1:
            raise ValueError(
                f"'{self.operation}' uses the mean of one language, {', '.join(self.of)} are "
                "several: write a step for each, in the order in which they are to be done"
            )
        return self

    def in_direction(self, direction: Direction, *, pivot: str) -> Intervention:
        """With the languages of a direction; languages that play two roles count once."""
        players = {"source": direction.source, "target": direction.target, "pivot": pivot}
        assert self.strength is not None  # noqa: S101 -- an arm has a strength for each step
        return Intervention(
            languages=tuple(dict.fromkeys(players[role] for role in self.of)),
            **self.model_dump(exclude={"of", "stack"}),
        )


class NamedProgram(Settings):
    """Steps in the order in which they are done."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    steps: tuple[Step, ...]


class ArithmeticSettings(UnseenSettings):
    """Translate unseen directions with the neurons of languages changed."""

    kind: Literal["arithmetic"]
    system: str = Field("dense", description="of the run; its own neurons are measured")
    selection: LanguageSelectionSettings = LanguageSelectionSettings()
    programs: tuple[NamedProgram, ...]
    strengths: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0,)
    random_seeds: tuple[int, ...] = Field((1,), description="a control each; [] for none")

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        # Not a least length of the fields: of a wrong step, that would be a fault three times.
        if not self.programs or not all(program.steps for program in self.programs):
            raise ValueError("no programs, or one without steps")
        for key, names in (
            ("programs", [program.name for program in self.programs]),
            ("strengths", [f"{strength:g}" for strength in self.strengths]),
            ("random_seeds", [str(seed) for seed in self.random_seeds]),
        ):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"{twice[0]} is twice among {key}")
        return self


@dataclass(frozen=True, slots=True)
class Arm:
    """A program at a strength, with the languages' neurons or random ones of a seed.

    `of` is the name of the arm that this is the control of.
    """

    name: str
    label: str
    steps: tuple[Step, ...]
    seed: int | None = None
    of: str | None = None

    def programs(self, directions: Sequence[Direction], *, pivot: str) -> dict[Direction, Programs]:
        """What is done in each direction, by stack."""
        return {
            direction: {
                stack: tuple(
                    step.in_direction(direction, pivot=pivot)
                    for step in self.steps
                    if step.stack == stack
                )
                for stack in STACKS
            }
            for direction in directions
        }


def arms(settings: ArithmeticSettings) -> Iterator[Arm]:
    """Every program at every strength, followed by its controls.

    A program whose steps all have strengths of their own is one arm.
    """
    for program in settings.programs:
        varies = any(step.strength is None for step in program.steps)
        for strength in settings.strengths if varies else (None,):
            name = program.name if strength is None else f"{program.name}-x{strength:g}"
            label = program.name if strength is None else f"{program.name}, strength {strength:g}"
            steps = tuple(
                step
                if step.strength is not None
                else step.model_copy(update={"strength": strength})
                for step in program.steps
            )
            yield Arm(name, label, steps)
            for seed in settings.random_seeds:
                yield Arm(f"{name}-random{seed}", f"{label}, random {seed}", steps, seed, name)


def require_trained(
    every: Sequence[Arm],
    directions: Sequence[Direction],
    trained: Sequence[Direction],
    *,
    pivot: str,
) -> None:
    """A ConfigurationError if an arm needs neurons of a language that its stack never saw."""
    known = {stack: {language_of(each, stack) for each in trained} for stack in STACKS}
    needed = dict.fromkeys(
        (stack, language)
        for arm in every
        for programs in arm.programs(directions, pivot=pivot).values()
        for stack, program in programs.items()
        for step in program
        for language in step.languages
    )
    lacking = [f"{language} in the {s}" for s, language in needed if language not in known[s]]
    if lacking:
        raise ConfigurationError(
            f"the system was not trained with {', '.join(lacking)}, so there are no neurons of it",
            fix="leave these languages out of eval.languages, or such steps out of eval.programs",
        )


def language_neurons(
    statistics: ActivationStatistics, selection: LanguageSelectionSettings
) -> dict[str, LanguageNeurons]:
    """The neurons of the languages that each stack reads or writes, from directions' statistics."""
    found = {}
    for stack in STACKS:
        of_languages = languages_of_stack(statistics, stack)
        found[stack] = LanguageNeurons(select_languages(of_languages, selection), of_languages)
    return found


def random_neurons(
    neurons: Mapping[str, LanguageNeurons], *, seed: int
) -> dict[str, LanguageNeurons]:
    """As many random neurons at each site, shared by as many languages, with their own means."""
    return {stack: of_stack.permuted(seed=seed) for stack, of_stack in neurons.items()}
