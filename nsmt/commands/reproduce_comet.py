"""COMET of a reproduction: every finished run, scored as `evaluate.py eval=comet run=FOLDER` does.

Done only where `comet.environment` is given. A run whose latest evaluation by COMET is that asked
for is not scored again; translations that runs have in common are scored once.
"""

from __future__ import annotations

from pathlib import Path

from nsmt.commands.comet import comet
from nsmt.commands.comet_results import latest_comet
from nsmt.commands.evaluations import EvaluateConfig, results_of
from nsmt.commands.reproduce_plan import Plan, ReproduceConfig
from nsmt.commands.reproduce_results import Found
from nsmt.errors import ConfigurationError, NsmtError, PreemptionError
from nsmt.evaluation.comet import CometProgram
from nsmt.methods import CONTROL


def asks_comet(config: ReproduceConfig) -> bool:
    """Whether runs are to be scored."""
    return config.comet.environment is not None


def require_comet(config: ReproduceConfig) -> None:
    """Find program and model before anything is trained; ConfigurationError if they are not there.

    Keys are named as of the evaluation.
    """
    if not asks_comet(config):
        return
    try:
        CometProgram.find(config.comet)
    except ConfigurationError as error:
        problem = error.problem.replace("eval.", "comet.", 1)
        raise ConfigurationError(problem, fix=error.fix.replace("eval.", "comet.")) from None


def score_with_comet(config: ReproduceConfig, plan: Plan, found: Found) -> list[str]:
    """Score the runs that have not been; a line for each that cannot be, with why."""
    failed = []
    for (condition, method, seed), folder in found.folders.items():
        asked = _asked(config, plan, folder)
        try:
            into, finished = results_of(asked)
            if not (finished and latest_comet(folder) == into):
                comet(asked, config.comet)
        except PreemptionError:
            raise
        except NsmtError as error:
            row = ", ".join(part for part in (condition, method, f"seed {seed}") if part)
            failed.append(f"not scored with COMET: {row}: {error.problem} (fix: {error.fix})")
    return failed


def count_scored(config: ReproduceConfig, plan: Plan, found: Found) -> int:
    """How many of the finished runs have the scores that are asked for."""
    asked = {folder: _asked(config, plan, folder) for folder in found.folders.values()}
    places = {folder: results_of(each) for folder, each in asked.items()}
    return sum(done and latest_comet(folder) == into for folder, (into, done) in places.items())


def _asked(config: ReproduceConfig, plan: Plan, folder: Path) -> EvaluateConfig:
    """What `evaluate.py eval=comet run=FOLDER` would be told."""
    run = plan.config(plan.plain, CONTROL, plan.seeds[0])
    return EvaluateConfig(
        eval=config.comet,
        run=str(folder),
        progress=run.callbacks.progress,
        paths=run.paths,
    )
