"""`reproduce TABLE scale=SCALE`: run, or go on with, all rows of one of the paper's tables.

Each row is an ordinary run and each step an ordinary sweep, so the same command again trains only
what is missing, wherever it was killed. A row that fails is named in the table; the others go on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nsmt.commands.compose import checked_overrides, composed, key_paths
from nsmt.commands.config import RunConfig
from nsmt.commands.failure import FAILURE
from nsmt.commands.hydra_session import hydra_session
from nsmt.commands.reproduce_page import write_page
from nsmt.commands.reproduce_plan import PLAIN, ROOT, Plan, ReproduceConfig, plan_of
from nsmt.commands.reproduce_results import Found, gather
from nsmt.commands.sweep_launch import launch_sweep, tell_ended
from nsmt.errors import DataError, PreemptionError
from nsmt.progress import result_console

REPRODUCTIONS: Final = "reproductions"
# Words that change no number of a run.
_SHOWN: Final = (
    *("paths", "launcher", "hydra", "logger"),
    *("callbacks.progress", "callbacks.log_every"),
)


def reproduce_words(words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The command's own words, and those that go to every run; the first names the table."""
    keys = set(key_paths(ReproduceConfig))
    own, handed_on = list[str](), list[str]()
    for place, word in enumerate(words):
        key, equals, _ = word.partition("=")
        if place == 0 and not equals and not word.startswith(("-", "~")):
            own.append(f"table={word}")
        elif word.startswith("-") or not equals or key.lstrip("+") in keys:
            own.append(word)
        else:
            handed_on.append(word)
        # Both keep to the same folders.
        if key.lstrip("+").startswith("paths."):
            handed_on.append(word)
    return own, tuple(dict.fromkeys(handed_on))


def reproduce(config: ReproduceConfig) -> Path | None:
    """Train what is missing, then write tables, figures and a page; the path of the page.

    Exits with status 2 if rows failed, and with 75, before anything is collected, if the runs were
    stopped by a signal.
    """
    plan = plan_of(config)
    if config.check:
        _show_plan(config, plan)
        return None
    status = 0 if config.collect else _run(plan)
    found = gather(plan)
    if not any(result.outcomes for result in found.results.values()):
        raise DataError(
            f"no row of {config.table.title} has a finished run: " + "; ".join(_reasons(found)[:3]),
            fix="run the command without collect=true, or mend what the failed runs say",
        )
    page = write_page(config, plan, found, into=output_folder(config))
    out = result_console()
    for reason in _reasons(found):
        out.print(reason, highlight=False, markup=False, soft_wrap=True)
    out.print(f"page: {page.resolve()}", highlight=False, markup=False, soft_wrap=True)
    if status:
        sys.exit(status)
    return page


def output_folder(config: ReproduceConfig) -> Path:
    """Named by table and scale, and by what the command line changes of rows and runs.

    Other seeds are more or less of the same page.
    """
    if config.output is not None:
        return Path(config.output)
    name = f"{config.table.name}-{config.scale.name}"
    words = [f"table={config.table.name}", f"scale={config.scale.name}"]
    usual = composed("reproduce", words, ReproduceConfig)
    changed = sorted(word for word in config.runs if not word.lstrip("+").startswith(_SHOWN))
    for key in ("table", "scale", "methods"):
        if (chosen := config.model_dump(mode="json")[key]) != usual.model_dump(mode="json")[key]:
            changed.append(f"{key}={json.dumps(chosen)}")
    if changed:
        name += f"-{hashlib.sha256(json.dumps(changed).encode()).hexdigest()[:10]}"
    return Path(config.paths.runs) / REPRODUCTIONS / name


def _run(plan: Plan) -> int:
    """Every sweep in turn; 2 if any job failed."""
    failed = False
    for words in plan.sweeps():
        with hydra_session(ROOT) as session:
            overrides = checked_overrides(ROOT, words, RunConfig)
            shared = session.preview(overrides, sweep=True)
            status = tell_ended(*launch_sweep(ROOT, session, words, shared))
        if status == PreemptionError.status:
            sys.exit(status)
        failed = failed or status != 0
    return FAILURE if failed else 0


def _show_plan(config: ReproduceConfig, plan: Plan) -> None:
    """What would be run, and what is finished."""
    found = gather(plan)
    out = result_console()
    out.print(f"{config.table.title} at scale {config.scale.name}", highlight=False)
    for name, result in found.results.items():
        title = name or "as it is"
        done, all_of_it = len(result.outcomes), len(result.outcomes) + len(result.absent)
        rows = ", ".join(result.systems)
        out.print(
            f"{title}: {done} of {all_of_it} runs are finished; rows {rows}; seeds "
            f"{', '.join(map(str, plan.seeds))}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    for reason in _reasons(found):
        out.print(reason, highlight=False, markup=False, soft_wrap=True)


def _reasons(found: Found) -> list[str]:
    return [
        line if name == PLAIN else f"{name}: {line}"
        for name, result in found.results.items()
        for line in result.missing()
    ]
