"""`evaluate eval=comet`: COMET of the translations that a finished run has kept.

Nothing is translated again; `nsmt.evaluation.comet` runs the program and keeps its scores.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from nsmt.commands.evaluations import (
    EvaluateConfig,
    OpenedRun,
    keep,
    keep_comparisons,
    opened_run,
)
from nsmt.commands.score import compare_systems
from nsmt.commands.translations import TRANSLATIONS, kept_translations, maker
from nsmt.errors import DataError
from nsmt.evaluation.comet import CometProgram, CometSettings, with_comet
from nsmt.evaluation.results import TestOutput
from nsmt.languages import Direction

_LOG = logging.getLogger(__name__)
_CACHE = "comet"


def comet(config: EvaluateConfig, settings: CometSettings) -> Path:
    """Score with COMET and compare; the folder of the results."""
    program = CometProgram.find(settings)
    opened = opened_run(config)
    run, corpus, into = opened.config, opened.corpus, opened.into
    scored_by = {"model": program.identity, "signature": program.signature}
    sources = {direction: corpus.texts(direction, "test")[0] for direction in corpus.directions}
    cache = Path(config.paths.downloads) / _CACHE
    outputs: dict[str, Mapping[Direction, TestOutput]] = {}
    for name, found in _kept(opened).items():
        outputs[name] = with_comet(found, sources, program, cache=cache)
        _LOG.info("scored %s with COMET", name)
    comparisons = compare_systems(run, corpus, outputs, into=into)
    keep_comparisons(into, comparisons)
    keep(into, {}, comparisons[-1].systems, opened.certificate | {"comet": scored_by})
    return into


def _kept(opened: OpenedRun) -> dict[str, dict[Direction, TestOutput]]:
    """The translations of every system of the run; DataError if some are not there whole."""
    outputs, missing = {}, []
    place = opened.folder / TRANSLATIONS
    for name in opened.record["stages"]:
        made_by = maker(opened.folder, name, opened.corpus, decoding=opened.config.decoding)
        found = kept_translations(place, name, opened.corpus, made_by=made_by)
        if found is None:
            missing.append(name)
        else:
            outputs[name] = found
    if missing:
        raise DataError(
            f"{place} holds no whole translations of {', '.join(missing)} by this search",
            fix="leave decoding.* as the run has it; what was changed or deleted is made again by "
            f"the run's own command, once {opened.folder / 'report' / 'report.html'} is deleted",
        )
    return outputs
