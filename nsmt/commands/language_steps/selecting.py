"""The neurons of each language by one rule, and the folder of all that is found with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from nsmt.commands.language_steps.subject import Subject, one_at_a_time, short_digest
from nsmt.neurons.language_selection import LanguageSelectionSettings, select_languages
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.steering.interventions import LanguageNeurons

ATLAS: Final = "atlas.safetensors"


@contextmanager
def selected(
    subject: Subject, statistics: ActivationStatistics, settings: LanguageSelectionSettings
) -> Iterator[tuple[Subject, LanguageNeurons]]:
    """The neurons, saved, and the subject whose results lie beside them; one process at a time.

    The folder is named by the rule and a digest of the selection and of what the statistics are of:
    model, text, gathering and languages in their order.
    """
    digest = short_digest([settings.model_dump(mode="json"), statistics.provenance])
    folder = subject.output / f"{settings.rule}-{digest}"
    with one_at_a_time(folder):
        atlas = select_languages(statistics, settings)
        atlas.save(folder / ATLAS)
        yield replace(subject, output=folder), LanguageNeurons(atlas, statistics)
