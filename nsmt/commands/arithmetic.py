"""`evaluate eval=arithmetic`: unseen directions, with the neurons of languages changed.

A finished run's system translates directions that it never saw, as it is and under programs that
add, replace or switch off what its neurons do in a language (`nsmt.evaluation.arithmetic`). Nothing
is trained and nothing is chosen: every program and strength is reported, beside the same with
random neurons.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nsmt.commands.arithmetic_report import Arithmetic, write_report
from nsmt.commands.evaluations import EvaluateConfig, OpenedRun, opened_run
from nsmt.commands.score import compare_outputs, resamples_path
from nsmt.commands.translations import TRANSLATIONS
from nsmt.commands.zero_shot import (
    IdentifierOf,
    Translated,
    chosen_systems,
    judge_of,
    language_identifier,
    notes_on_text,
    sets_of,
    translated,
)
from nsmt.commands.zero_shot_report import Measured, TestSets
from nsmt.data.datamodule import TranslationData
from nsmt.errors import ConfigurationError
from nsmt.evaluation.arithmetic import (
    ArithmeticSettings,
    Arm,
    arms,
    language_neurons,
    random_neurons,
    require_trained,
)
from nsmt.evaluation.groups import groups_of
from nsmt.evaluation.resamples import Resamples
from nsmt.evaluation.zero_shot import Variant, unseen_directions, variants
from nsmt.methods import LABELS
from nsmt.models.checkpoint import TrainedModel, load_checkpoint
from nsmt.models.systems import CHECKPOINT
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.steering.interventions import NOISY, LanguageNeurons
from nsmt.steering.translation_models import Steering
from nsmt.training.identification import gather_statistics, provenance_of
from nsmt.training.schedule import STATISTICS
from nsmt.training.trainer import on_machine

_LOG = logging.getLogger(__name__)
# Below the folder of the results.
NEURONS: Final = "neurons"
_MOMENTS: Final = ("sum", "square")


def arithmetic(
    config: EvaluateConfig,
    settings: ArithmeticSettings,
    *,
    identifier_of: IdentifierOf = language_identifier,
) -> Path:
    """Evaluate unseen directions under every program; the folder of the results."""
    opened = opened_run(config)
    corpus, into = opened.corpus, opened.into
    directions = unseen_directions(settings.languages, corpus.languages, pivot=corpus.pivot)
    chosen_systems(opened, [settings.system], key="eval.system")
    judge = judge_of(
        settings, corpus.languages, directions, pivot=corpus.pivot, identifier_of=identifier_of
    )
    sets = sets_of(corpus, directions, settings)
    trained = _loaded(opened, settings.system)
    every = list(arms(settings))
    require_trained(every, list(sets.texts), trained.directions, pivot=corpus.pivot)
    statistics = _statistics(opened, trained)
    neurons = language_neurons(statistics, settings.selection)
    for stack, of_stack in neurons.items():
        of_stack.atlas.save(into / NEURONS / f"atlas-{stack}.safetensors")
    done = _translated(opened, settings, trained, every, neurons, sets, Translated(judge))
    groups = groups_of(sets.unseen, corpus.languages, pivot=corpus.pivot)
    (against,) = compare_outputs(
        done.outputs,
        baselines=[settings.system],
        groups=groups,
        scoring=opened.config.test,
        labels=done.labels,
        into=into,
        said={direction: text.meanings for direction, text in sets.texts.items()},
        progress=opened.config.callbacks.progress,
    )
    report = Arithmetic(
        plain=settings.system,
        arms=every,
        neurons=neurons,
        sets=sets,
        measured=Measured(against.systems, done.found),
        against=against,
        resamples=Resamples.load(resamples_path(into)),
        corpus=corpus,
        notes=[*_notes(settings), *notes_on_text(sets, settings)],
    )
    write_report(into, report, opened.certificate)
    return into


def _loaded(opened: OpenedRun, system: str) -> TrainedModel:
    """The system; a ConfigurationError if its directions have weights of their own."""
    trained = load_checkpoint(opened.folder / system / CHECKPOINT)
    if trained.weight_masks is not None:
        raise ConfigurationError(
            f"eval.system: '{system}' has other weights for each direction, whose neurons are not "
            "those of one model",
            fix="evaluate a system of one model, such as dense",
        )
    return trained


def _statistics(opened: OpenedRun, trained: TrainedModel) -> ActivationStatistics:
    """What fires in each trained direction on its validation text, with moments; gathered once."""
    path = opened.into / NEURONS / STATISTICS
    run, corpus = opened.config, opened.corpus
    if path.is_file():
        kept = ActivationStatistics.load(path)
        if kept.provenance == provenance_of(trained, corpus) and tuple(kept.moments) == _MOMENTS:
            return kept
    alone = run.trainer.model_copy(update={"devices": 1, "num_nodes": 1})
    data = TranslationData(
        corpus,
        batch=on_machine(run.batch, alone, trained.model.settings),
        temperature=1.0,
        seed=0,
        directions=trained.directions,
    )
    statistics = gather_statistics(
        trained,
        data,
        rule=CountRule(),
        trainer=alone,
        folder=opened.into,
        moments=_MOMENTS,
        progress=run.callbacks.progress,
    )
    statistics.save(path)
    _LOG.info("measured the neurons of %d directions", len(statistics.tasks))
    # As a second start has them: sums are kept in fewer bytes.
    return ActivationStatistics.load(path)


def _translated(
    opened: OpenedRun,
    settings: ArithmeticSettings,
    trained: TrainedModel,
    every: list[Arm],
    neurons: Mapping[str, LanguageNeurons],
    sets: TestSets,
    done: Translated,
) -> Translated:
    """Translate as the system is, then under each arm; the text is kept below `into`."""
    directions, pivot = list(sets.texts), opened.corpus.pivot
    label = LABELS[settings.system]
    # With merged sets, if it has masks.
    plain = next(
        variants(settings.system, label, trained, directions, pivot=pivot, statistics=None)
    )
    folder = opened.into / TRANSLATIONS
    done.add(plain.name, label, translated(plain, sets, opened.config, folder))
    by_seed = {seed: random_neurons(neurons, seed=seed) for seed in settings.random_seeds}
    for arm in every:
        steering = Steering(
            neurons if arm.seed is None else by_seed[arm.seed],
            arm.programs(directions, pivot=pivot),
            seed=arm.name,
        )
        outputs = translated(
            Variant(arm.name, arm.label, plain.trained),
            sets,
            opened.config,
            folder,
            steering=steering,
            steered_by=_decided_by(arm, steering, pivot=pivot),
        )
        done.add(arm.name, arm.label, outputs)
    done.judge_references(sets)
    return done


def _decided_by(arm: Arm, steering: Steering, *, pivot: str) -> dict[str, Any]:
    noisy = any(step.operation in NOISY for step in arm.steps)
    return {
        "steps": [step.model_dump(mode="json") for step in arm.steps],
        "pivot": pivot,
        "neurons": {stack: each.atlas.fingerprint for stack, each in steering.neurons.items()},
        "statistics": {s: each.statistics.provenance for s, each in steering.neurons.items()},
        **({"noise": steering.seed} if noisy else {}),
    }


def _notes(settings: ArithmeticSettings) -> list[str]:
    """What must stand below every table: whose neurons, what random means, what was chosen."""
    selection = settings.selection
    notes = [
        f"Neurons of languages: {selection.rule}, rate {selection.rate:g}, in each stack by "
        "itself; counted on validation text, by source language in the encoder and by target "
        "language in the decoder. Their means are of the same text.",
        "All programs and strengths that were tried are here; none was chosen by these results.",
    ]
    if settings.random_seeds:
        notes.append(
            "Random: the same with as many random neurons of each language at each site, shared "
            "between languages as its own are, and their own means in that language."
        )
    return notes
