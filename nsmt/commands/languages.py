"""`languages`: the language neurons of a language model, found, looked at and switched.

Steps are done once for the same weights, text and settings; the same command again goes on with
what is missing. `output` holds statistics/LANGUAGE.safetensors, atlas.safetensors, results, tables,
figures, a page and the certificate.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

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
    gathering_step,
)
from nsmt.data.monolingual import TextSettings
from nsmt.errors import ConfigurationError
from nsmt.languages import CATALOGUE, validate_code
from nsmt.neurons.language_selection import LanguageSelectionSettings, select_languages
from nsmt.progress import progress_bar, result_console
from nsmt.records import certificate, command_line, now, write_record
from nsmt.reporting.language_neurons import language_page
from nsmt.settings import Settings
from nsmt.steering.interventions import LanguageNeurons
from nsmt.steering.loading import LanguageModelSettings, load_language_model
from nsmt.turns import taking_turns


class LanguagesConfig(Settings):
    """All of `nsmt languages`."""

    language_model: LanguageModelSettings
    text: TextSettings = Field(description="what neurons are found on, and, held out, tested on")
    languages: Annotated[tuple[str, ...], Field(min_length=2)]
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


def languages(config: LanguagesConfig) -> Path:
    """Find the neurons, then do the steps asked for; the path of the page."""
    for code in config.languages:
        if validate_code(code) not in CATALOGUE:
            raise ConfigurationError(
                f"languages: '{code}' is not in the catalogue",
                fix=f"use {', '.join(sorted(CATALOGUE))}",
            )
    output = Path(config.output)
    record = certificate(
        command=command_line(),
        config=config.model_dump(mode="json"),
        seed=config.selection.seed,
        fingerprint=None,
    )
    with (
        taking_turns(output.parent / f".{output.name}.lock"),
        progress_bar(shown=config.progress) as bar,
    ):
        subject = _opened(config, output)
        work = partial(bar.add_task, status="")
        statistics = gathering_step(subject, config.gathering, bar=bar, add=work)
        atlas = select_languages(statistics, config.selection)
        atlas.save(output / "atlas.safetensors")
        neurons = LanguageNeurons(atlas, statistics)
        results: dict[str, dict[str, Any]] = {
            name: step(subject, neurons, getattr(config, name), bar=bar, add=work)
            for name, step in STEPS.items()
            if name in config.steps
        }
    record |= {"model": subject.model.fingerprint, "finished": now()}
    write_record(output, record)
    page = language_page(neurons, results, record, into=output)
    result_console().print(f"page: {page.resolve()}", soft_wrap=True, highlight=False, markup=False)
    return page


def _opened(config: LanguagesConfig, output: Path) -> Subject:
    downloads = Path(config.paths.downloads)
    model = load_language_model(
        config.language_model,
        cache=downloads,
        device="cuda" if config.accelerator == "gpu" else "cpu",
    )
    return Subject(model, config.text, config.languages, output, downloads)
