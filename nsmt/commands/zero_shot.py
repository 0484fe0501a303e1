"""`evaluate eval=zero_shot`: every direction between two languages that are not the pivot.

Systems of a finished run translate directions that they never saw, with the neurons that fit
(`nsmt.evaluation.zero_shot`). Scores, likelihoods and off-target rates make matrices from source to
target, and comparisons with the dense model and its continuation.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nsmt.commands.config import RunConfig
from nsmt.commands.evaluations import (
    EvaluateConfig,
    OpenedRun,
    alone_at,
    keep,
    keep_comparisons,
    opened_run,
)
from nsmt.commands.score import compare_outputs, score_texts
from nsmt.commands.translations import TRANSLATIONS, kept_outputs, write_outputs
from nsmt.commands.zero_shot_report import (
    Measured,
    TestSets,
    summary,
    write_everything,
    write_matrices,
)
from nsmt.data.corpus import Corpus, encoded_table
from nsmt.data.identification import Identifier, LanguageIdentifier
from nsmt.data.pivot_join import unseen_texts
from nsmt.errors import ConfigurationError, DataError, did_you_mean
from nsmt.evaluation.comparison import measure
from nsmt.evaluation.groups import ZERO_SHOT, groups_of
from nsmt.evaluation.off_target import Found, Judge, with_off_target
from nsmt.evaluation.results import TestOutput
from nsmt.evaluation.zero_shot import (
    UnseenSettings,
    Variant,
    ZeroShotSettings,
    unseen_directions,
    variants,
)
from nsmt.languages import Direction, Language, LanguageTable
from nsmt.methods import CONTROL, DENSE, LABELS, SEEN_ONLY
from nsmt.models.checkpoint import load_checkpoint
from nsmt.models.systems import CHECKPOINT, models_of
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.reporting.results_tables import comparison_resolution
from nsmt.reporting.zero_shot_tables import REFERENCES, unidentified_notes
from nsmt.steering.translation_models import Steering
from nsmt.training.schedule import IDENTIFICATION, STATISTICS

_LOG = logging.getLogger(__name__)
IdentifierOf = Callable[[Sequence[Language], Sequence[str]], Identifier]


@dataclass(frozen=True, slots=True)
class Translated:
    """By system: outputs, labels, and (of references too) which language each text is in."""

    judge: Judge | None
    outputs: dict[str, Mapping[Direction, TestOutput]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    found: dict[str, Mapping[Direction, Found]] = field(default_factory=dict)

    def add(self, name: str, label: str, outputs: Mapping[Direction, TestOutput]) -> None:
        """What a system put out, with its off-target rate if there is a judge."""
        if self.judge is not None:
            found = {
                direction: self.judge(direction, output.hypotheses)
                for direction, output in outputs.items()
                if self.judge.knows(direction.target)
            }
            outputs = with_off_target(outputs, found, signature=self.judge.signature)
            self.found[name] = found
        self.outputs[name], self.labels[name] = outputs, label

    def judge_references(self, sets: TestSets) -> None:
        """The same of the references: the identifier's own error."""
        if self.judge is not None:
            self.found[REFERENCES] = {
                direction: self.judge(direction, text.targets)
                for direction, text in sets.texts.items()
                if self.judge.knows(direction.target)
            }

    def unidentified(self, sets: TestSets) -> list[str]:
        """The languages of the directions that the identifier does not know."""
        codes = dict.fromkeys(code for d in sets.texts for code in (d.source, d.target))
        return [code for code in codes if self.judge is not None and not self.judge.knows(code)]


def language_identifier(languages: Sequence[Language], required: Sequence[str]) -> Identifier:
    """py3langid, among the languages of the corpus."""
    return LanguageIdentifier(languages, required=required)


def zero_shot(
    config: EvaluateConfig,
    settings: ZeroShotSettings,
    *,
    identifier_of: IdentifierOf = language_identifier,
) -> Path:
    """Evaluate unseen directions; the folder of the results."""
    opened = opened_run(config)
    with alone_at(opened.folder, opened.into):
        _evaluate(opened, settings, identifier_of)
    return opened.into


def _evaluate(opened: OpenedRun, settings: ZeroShotSettings, identifier_of: IdentifierOf) -> None:
    corpus, into = opened.corpus, opened.into
    directions = unseen_directions(settings.languages, corpus.languages, pivot=corpus.pivot)
    names, passed_over = chosen_systems(opened, settings.systems)
    judge = judge_of(settings, corpus.languages, pivot=corpus.pivot, identifier_of=identifier_of)
    sets = sets_of(corpus, directions, settings)
    done = Translated(judge)
    either_way = _translated(opened, names, sets, done, into)
    several = len(done.outputs) > 1
    comparisons = compare_outputs(
        done.outputs,
        baselines=[name for name in (DENSE, CONTROL) if name in done.outputs and several],
        groups=groups_of(sets.unseen, corpus.languages, pivot=corpus.pivot),
        scoring=opened.config.test,
        labels=done.labels,
        into=into,
        said={direction: text.meanings for direction, text in sets.texts.items()},
        progress=opened.config.callbacks.progress,
    )
    systems = (
        comparisons[-1].systems
        if comparisons
        else measure(done.outputs, labels=done.labels, tokenizer=opened.config.test.tokenizer)
    )
    measured = Measured(systems, done.found, done.unidentified(sets))
    notes = _notes(sets, settings, either_way, passed_over, pivot=corpus.pivot)
    notes += unidentified_notes(measured.unidentified, sets.unseen)
    notes += [comparison_resolution(each, [ZERO_SHOT], each.metrics) for each in comparisons]
    write_matrices(into, measured, sets, corpus, notes)
    write_everything(into, measured, sets, passed_over, pivot=corpus.pivot)
    keep_comparisons(into, comparisons)
    keep(into, {"summary": summary(measured, sets, corpus, notes)}, systems, opened.certificate)


def chosen_systems(
    opened: OpenedRun, chosen: Sequence[str] | None, *, key: str = "eval.systems"
) -> tuple[list[str], dict[str, str]]:
    """The run's systems to evaluate, and those that cannot translate unseen directions, with why.

    One that was asked for by name, under `key`, and cannot or is not there, is a
    ConfigurationError.
    """
    stages: list[str] = opened.record["stages"]
    for name in chosen or ():
        if name not in stages:
            hint = did_you_mean(name, stages)
            raise ConfigurationError(
                f"{key}: {opened.folder} has no '{name}'",
                fix=f"{hint}it has {', '.join(stages)}",
            )
        if name in SEEN_ONLY:
            raise ConfigurationError(
                f"{key}: '{name}' cannot translate unseen directions: {SEEN_ONLY[name]}",
                fix="leave it out",
            )
    names = [name for name in stages if chosen is None or name in chosen]
    passed_over = {name: SEEN_ONLY[name] for name in names if name in SEEN_ONLY}
    return [name for name in names if name not in passed_over], passed_over


def judge_of(
    settings: UnseenSettings,
    languages: LanguageTable,
    required: Sequence[Direction] = (),
    *,
    pivot: str,
    identifier_of: IdentifierOf = language_identifier,
) -> Judge | None:
    """What tells the languages; ConfigurationError if it does not know one of `required`."""
    if not settings.identify:
        return None
    codes = list(dict.fromkeys([*(d.source for d in required), pivot]))
    identifier = identifier_of(list(languages.values()), codes)
    return Judge(identifier, min_letter_bytes=settings.min_letter_bytes)


def sets_of(corpus: Corpus, directions: Sequence[Direction], settings: UnseenSettings) -> TestSets:
    """The text of each direction; a DataError if no unseen one has enough."""
    texts = unseen_texts(corpus, directions)
    enough = {d: text for d, text in texts.items() if len(text) >= settings.min_sentences}
    too_small = {d: len(text) for d, text in texts.items() if d not in enough}
    trained = tuple(direction for direction in enough if direction in corpus.directions)
    if len(trained) == len(enough):
        most = max(too_small.values(), default=0)
        raise DataError(
            f"no unseen direction has {settings.min_sentences} test sentences: test sets joined by "
            f"their {corpus.pivot} side have {most} at most",
            fix="lower eval.min_sentences, or train on a corpus whose test sets share sentences",
        )
    kept = {d: text.at_most(settings.max_sentences) for d, text in enough.items()}
    return TestSets(kept, too_small, trained)


def _variants(
    opened: OpenedRun, names: Sequence[str], directions: Sequence[Direction]
) -> Iterator[Variant]:
    path = opened.folder / IDENTIFICATION / STATISTICS
    statistics = ActivationStatistics.load(path) if path.is_file() else None
    for name in names:
        yield from variants(
            name,
            LABELS[name],
            load_checkpoint(opened.folder / name / CHECKPOINT),
            directions,
            pivot=opened.corpus.pivot,
            statistics=statistics,
        )


def _translated(
    opened: OpenedRun, names: Sequence[str], sets: TestSets, done: Translated, into: Path
) -> list[str]:
    """Translate with every system, one model at a time, and keep the text below `into`.

    Returns the labels of systems whose factorised sets are the merged ones.
    """
    either_way = []
    for variant in _variants(opened, names, list(sets.texts)):
        outputs = translated(variant, sets, opened.config, into / TRANSLATIONS)
        done.add(variant.name, variant.label, outputs)
        if variant.either_way:
            either_way.append(variant.label)
    done.judge_references(sets)
    return either_way


def translated(
    variant: Variant,
    test_sets: TestSets,
    config: RunConfig,
    folder: Path,
    *,
    steering: Steering | None = None,
    steered_by: Mapping[str, Any] | None = None,
) -> dict[Direction, TestOutput]:
    """Translate, or read what is in the folder from an evaluation that was stopped.

    `steered_by` is all that decides what `steering` does.
    """
    trained, texts = variant.trained, test_sets.texts
    sets = trained.weight_masks if trained.atlas is None else trained.atlas
    sentences = [[str(d), text.sources, text.targets] for d, text in texts.items()]
    made_by: dict[str, Any] = {
        "weights": trained.fingerprint,
        "neurons": None if sets is None else sets.fingerprint,
        "sentences": hashlib.sha256(json.dumps(sentences).encode()).hexdigest(),
        "decoding": config.decoding.model_dump(mode="json"),
    }
    if steered_by is not None:
        made_by["steered_by"] = dict(steered_by)
    kept = kept_outputs(folder, variant.name, lambda d: list(texts[d].targets), made_by=made_by)
    if kept is not None:
        return kept
    outputs: dict[Direction, TestOutput] = {}
    for model in models_of(trained):
        own = {direction: texts[direction] for direction in model.directions}
        outputs |= score_texts(
            model,
            {d: (text.sources, text.targets) for d, text in own.items()},
            {d: encoded_table(model.vocabulary, t.sources, t.targets) for d, t in own.items()},
            decoding=config.decoding,
            label=variant.label,
            steering=steering,
            accelerator=config.trainer.accelerator,
            progress=config.callbacks.progress,
        )
    sources = {direction: text.sources for direction, text in texts.items()}
    write_outputs(folder, variant.name, sources, outputs, made_by=made_by)
    _LOG.info("translated %d unseen directions with %s", len(outputs), variant.name)
    return outputs


def _notes(
    sets: TestSets,
    settings: ZeroShotSettings,
    either_way: Sequence[str],
    passed_over: Mapping[str, str],
    *,
    pivot: str,
) -> list[str]:
    """What must stand below every table of unseen directions."""
    notes = [
        f"Directions between languages other than {pivot}. Unless a system says otherwise, its "
        f"neurons, masks of weights or adapters are merged: the encoder's of X→{pivot} and the "
        f"decoder's of {pivot}→Y."
    ]
    if either_way:
        named = ", ".join(either_way)
        notes.append(f"Sets of languages (factorised) are the merged ones here: {named}.")
    notes += [f"{name} is not here: {reason}." for name, reason in passed_over.items()]
    return notes + notes_on_text(sets, settings)


def notes_on_text(sets: TestSets, settings: UnseenSettings) -> list[str]:
    """The same of test sets and the identifier."""
    notes = []
    if sets.too_small:
        named = ", ".join(f"{direction} ({count})" for direction, count in sets.too_small.items())
        notes.append(f"Left out, having fewer than {settings.min_sentences} sentences: {named}.")
    if sets.trained:
        named = ", ".join(map(str, sets.trained))
        notes.append(f"Seen in training, and in no mean of the summary: {named}.")
    if settings.identify:
        notes.append(
            f"Texts with fewer than {settings.min_letter_bytes} bytes of letters are not judged; "
            "they count as sentences, and in no language. The references are judged in the same "
            "way: their rate is the identifier's own error."
        )
    return notes
