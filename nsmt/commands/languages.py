"""`languages`: the language neurons of a language model, found, looked at and switched.

Steps are done once for the same weights, text and settings; the same command again goes on with
what is missing. `output` holds statistics in a folder of their model, text and settings, in one of
its rule and selection each atlas with what was measured with it, and there a folder for the page of
some steps: results, tables, figures and the certificate
(`nsmt.commands.language_steps.gathering`, `.selecting` and `.subject`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from nsmt.commands.config import PathSettings
from nsmt.commands.language_steps import (
    STEPS,
    FallbackSettings,
    FertilitySettings,
    ForcingSettings,
    GatheringSettings,
    LensSettings,
    PerplexitySettings,
    StepName,
    Subject,
    TasksSettings,
    check_changes,
    check_steps,
    decisive,
    gathering_step,
    selected,
    short_digest,
    statistics_folder,
)
from nsmt.data.monolingual import TextSettings, check_text, text_digest
from nsmt.errors import ConfigurationError
from nsmt.files import replace_text
from nsmt.languages import (
    CATALOGUE,
    Language,
    LanguageSettings,
    catalogue_with,
    validate_code,
)
from nsmt.neurons.language_selection import LanguageRule, LanguageSelectionSettings
from nsmt.neurons.moments import Moment
from nsmt.probing.language_numbers import language_relations
from nsmt.progress import progress_bar, result_console
from nsmt.records import certificate, command_line, now, write_record
from nsmt.reporting.language_neurons import language_page
from nsmt.settings import Settings
from nsmt.steering.interventions import MOMENTS, Change
from nsmt.steering.loading import LanguageModelSettings, load_language_model
from nsmt.training.world import launched

# Those of the rules that need more than counts.
_RULES: Final[Mapping[LanguageRule, tuple[Moment, ...]]] = {
    "lave": ("sum",),
    "difference": ("sum",),
}


class LanguagesConfig(Settings):
    """All of `nsmt languages`."""

    language_model: LanguageModelSettings
    text: TextSettings = Field(description="what neurons are found on, and, held out, tested on")
    languages: Annotated[tuple[str, ...], Field(min_length=2)] = Field(
        description="codes of two or more languages of the catalogue or described, as in [de,en]"
    )
    described: dict[str, LanguageSettings] = Field(
        default_factory=dict, description="what the catalogue lacks, as data.languages"
    )
    gathering: GatheringSettings
    selection: LanguageSelectionSettings
    steps: tuple[StepName, ...] = Field(
        ("perplexity", "fertility", "forcing"), description="after identification"
    )
    perplexity: PerplexitySettings
    fertility: FertilitySettings
    forcing: ForcingSettings
    fallback: FallbackSettings
    lens: LensSettings
    tasks: TasksSettings
    accelerator: Literal["cpu", "gpu"] = "cpu"
    progress: bool = True
    output: str
    paths: PathSettings

    @model_validator(mode="after")
    def _gathers_what_is_needed(self) -> LanguagesConfig:
        users = {f"selection.rule={self.selection.rule}": _RULES.get(self.selection.rule, ())}
        for name in self.steps:
            for key, change in dict(getattr(self, name)).items():
                if isinstance(change, Change):
                    users[f"{name}.{key}.operation={change.operation}"] = MOMENTS[change.operation]
        for user, needed in users.items():
            if lacking := set(needed) - set(self.gathering.moments):
                more = ",".join([*self.gathering.moments, *sorted(lacking)])
                raise ValueError(f"{user} needs gathering.moments=[{more}]")
        return self

    def known(self) -> Mapping[str, Language]:
        """The catalogue's languages, and those described; a ConfigurationError if one is neither.

        Resource tiers mean nothing here.
        """
        if repeated := [code for code, n in Counter(self.languages).items() if n > 1]:
            raise ConfigurationError(
                f"languages has {', '.join(map(repr, repeated))} more than once",
                fix="name each language once",
            )
        known = catalogue_with(self.described)
        if unknown := [code for code in self.languages if validate_code(code) not in known]:
            one = unknown[0]
            raise ConfigurationError(
                f"languages: {', '.join(map(repr, unknown))} is not in the catalogue",
                fix=f"describe each, as in described.{one}.name=… described.{one}.family=… "
                f"described.{one}.flores=…, or use {', '.join(sorted(CATALOGUE))}",
            )
        return known

    def asked(self) -> dict[str, Any]:
        """The steps and their settings, which decide a page of given neurons."""
        return {name: decisive(getattr(self, name)) for name in self.steps}


def languages(config: LanguagesConfig) -> Path:
    """Find the neurons, then do the steps asked for; the path of the page."""
    if launched():
        raise ConfigurationError(
            "nsmt languages runs as one process, and a launcher started several",
            fix="have the launcher start `nsmt identify` with the same words, then run this alone",
        )
    known = config.known()
    check_text(config.text, config.languages)
    steps: dict[StepName, Settings] = {name: getattr(config, name) for name in config.steps}
    check_steps(steps, config.languages, known)
    record = certificate(
        command=command_line(),
        config=config.model_dump(mode="json"),
        seed=config.selection.seed,
        fingerprint=text_fingerprint(config),
    )
    with progress_bar(shown=config.progress) as bar:
        subject = opened(config)
        gathered = statistics_folder(subject, config.gathering)
        work = partial(bar.add_task, status="")
        statistics = gathering_step(subject, config.gathering, bar=bar, add=work)
        assert statistics is not None  # noqa: S101 -- one process has them
        with selected(subject, statistics, config.selection) as (subject, neurons):
            check_changes(steps, subject, neurons)
            results: dict[str, dict[str, Any]] = {
                name: step(subject, neurons, getattr(config, name), bar=bar, add=work)
                for name, step in STEPS.items()
                if name in config.steps
            }
            record |= {
                "model": subject.model.fingerprint,
                "statistics": str(gathered),
                "finished": now(),
            }
            folder = subject.output / f"page-{short_digest(config.asked())}"
            relations = language_relations(neurons, results, known)
            for name, result in (results | {"relations": relations}).items():
                text = json.dumps(result, ensure_ascii=False, allow_nan=False)
                replace_text(folder / "results" / f"{name}.json", text + "\n")
            write_record(folder, record)
            page = language_page(
                neurons, results, record, relations=relations, into=folder, known=known
            )
    result_console().print(f"page: {page.resolve()}", soft_wrap=True, highlight=False, markup=False)
    return page


def text_fingerprint(config: LanguagesConfig) -> str:
    """The sha256 of what pins the text: its bytes, or the settings that name it.

    A data set that is streamed is known by its settings alone.
    """
    named = config.text.model_dump(mode="json", exclude={"archive"})
    read = {language: text_digest(config.text, language) for language in config.languages}
    if all(read.values()):
        # Files are the same text wherever they are.
        del named["path"]
    return hashlib.sha256(json.dumps([named, read], sort_keys=True).encode()).hexdigest()


def opened(config: LanguagesConfig) -> Subject:
    """The model on its device, and the text."""
    downloads = Path(config.paths.downloads)
    model = load_language_model(
        config.language_model,
        cache=downloads,
        device="cuda" if config.accelerator == "gpu" else "cpu",
    )
    return Subject(
        model,
        config.text,
        config.languages,
        Path(config.output),
        downloads,
        config.known(),
    )
