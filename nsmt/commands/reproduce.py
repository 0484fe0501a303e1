"""`reproduce TABLE scale=SCALE`: run, or go on with, all rows of one of the paper's tables.

Each row is an ordinary run and each step an ordinary sweep, so the same command again trains only
what is missing, wherever it was killed. A row that fails is named in the table; the others go on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml
from hydra import compose, initialize_config_dir

from nsmt.commands.compose import checked, checked_overrides, conf_folder, key_paths
from nsmt.commands.config import RunConfig
from nsmt.commands.failure import FAILURE
from nsmt.commands.hydra_session import hydra_session
from nsmt.commands.reproduce_comet import (
    asks_comet,
    count_scored,
    require_comet,
    score_with_comet,
)
from nsmt.commands.reproduce_page import write_page
from nsmt.commands.reproduce_plan import (
    AS_IT_IS,
    PLAIN,
    PROBED,
    ROOT,
    UNSEEN,
    Plan,
    ReproduceConfig,
    ScaleSettings,
    TableSettings,
    asked_conditions,
    plan_of,
)
from nsmt.commands.reproduce_probes import (
    count_probed,
    gather_probed,
    probe_runs,
    require_probe_words,
)
from nsmt.commands.reproduce_results import Found, gather
from nsmt.commands.reproduce_unseen import (
    count_evaluated,
    evaluate_unseen,
    gather_unseen,
    require_judge,
)
from nsmt.commands.sweep_launch import launch_sweep, tell_ended
from nsmt.commands.train import train
from nsmt.errors import ConfigurationError, DataError, PreemptionError
from nsmt.methods import CONTROL
from nsmt.progress import result_console
from nsmt.training.signals import StopSignal

REPRODUCTIONS: Final = "reproductions"


def reproduce_words(words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The command's own words, and those that go to every run; the first names the table."""
    keys = key_paths(ReproduceConfig)
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

    Exits with status 2 if rows failed, and with 75, before there is a page, if a signal asked it to
    stop.
    """
    plan = plan_of(config)
    if PROBED in config.table.tables:
        require_probe_words(config.table.probe)
    require_comet(config)
    if config.check:
        _show_plan(config, plan)
        return None
    if UNSEEN in config.table.tables and not config.collect:
        require_judge(plan)
    status = 0 if config.collect else _run(plan)
    with StopSignal().listening() as stop:
        found, failed, page = _collect(config, plan)
        stop.obey()
    status = FAILURE if failed else status
    out = result_console()
    for reason in _reasons(found):
        out.print(reason, highlight=False, markup=False, soft_wrap=True)
    out.print(f"page: {page.resolve()}", highlight=False, markup=False, soft_wrap=True)
    if status:
        sys.exit(status)
    return page


def _collect(config: ReproduceConfig, plan: Plan) -> tuple[Found, bool, Path]:
    """What finished runs scored, whether measuring any of them failed, and the page."""
    found = gather(plan)
    if not any(result.outcomes for result in found.results.values()):
        raise DataError(
            f"no row of {config.table.title} has a finished run: " + "; ".join(_reasons(found)[:3]),
            fix="run the command without collect=true, or mend what the failed runs say",
        )
    found, failed = _measured(config, plan, found)
    return found, failed, write_page(config, plan, found, into=output_folder(config))


def _measured(config: ReproduceConfig, plan: Plan, found: Found) -> tuple[Found, bool]:
    """With what is measured on finished runs one after the other; whether any of that failed."""
    tables, any_failed = config.table.tables, False
    if asks_comet(config) and not config.collect:
        lines = score_with_comet(config, plan, found)
        for line in lines:
            result_console().print(line, highlight=False, markup=False, soft_wrap=True)
        found, any_failed = gather(plan), bool(lines)
    if UNSEEN in tables:
        failed = {} if config.collect else evaluate_unseen(plan, found)
        found = replace(found, unseen=gather_unseen(plan, found, failed))
        any_failed = any_failed or bool(failed)
    if PROBED in tables:
        words = config.table.probe
        failed = {} if config.collect else probe_runs(found, words)
        found = replace(found, probed=gather_probed(found, words, failed))
        any_failed = any_failed or bool(failed)
    return found, any_failed


def output_folder(config: ReproduceConfig) -> Path:
    """Named by table and scale, and by a hash of what the command line changes of the results.

    Where runs are started, kept or shown changes nothing of them.
    """
    if config.output is not None:
        return Path(config.output)
    table, of_table = _chosen("table", config.table)
    scale, of_scale = _chosen("scale", config.scale)
    seeds = config.table.seeds or config.scale.seeds
    changed = {
        "runs": _changed_identity(config),
        "methods": config.methods if config.methods != config.table.methods else None,
        "seeds": config.seeds if config.seeds != seeds else None,
        "conditions": _fewer_conditions(config),
        "table": of_table,
        "scale": of_scale,
    }
    told = {name: value for name, value in changed.items() if value is not None}
    name = f"{table}-{scale}"
    if told:
        text = json.dumps(told, sort_keys=True)
        name += f"-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    return Path(config.paths.runs) / REPRODUCTIONS / name


def _fewer_conditions(config: ReproduceConfig) -> list[str] | None:
    """The conditions that are asked for, unless they are all that there are."""
    asked = list(asked_conditions(config))
    every = asked_conditions(config.model_copy(update={"conditions": None}))
    return asked if len(asked) < len(every) else None


def _chosen(group: str, settings: TableSettings | ScaleSettings) -> tuple[str, Any]:
    """The file of `conf/` that settings come from, and all of them where they differ from it."""
    own = settings.model_dump(mode="json")
    name = "title" if isinstance(settings, TableSettings) else "name"
    near = str(own[name]).lower().replace(" ", "")
    for path in sorted((conf_folder() / group).glob("*.yaml")):
        if yaml.safe_load(path.read_text(encoding="utf-8"))[name] != own[name]:
            continue
        near = path.stem
        with initialize_config_dir(config_dir=str(conf_folder().resolve()), version_base="1.3"):
            # A file may go on top of another.
            there = compose(f"{group}/{near}")[group]
        if checked(there, type(settings)) == settings:
            return near, None
    return near, own


def _changed_identity(config: ReproduceConfig) -> dict[str, Any] | None:
    """What decides the numbers of the base run, if the words for every run change it."""
    if not config.runs:
        return None
    plan = plan_of(config)
    changed = plan.config(plan.plain, CONTROL, 0).identity()
    try:
        as_it_is = replace(plan, runs=()).config(plan.plain, CONTROL, 0).identity()
    except ConfigurationError:
        # A scale that says nothing without its folders.
        return changed
    return None if changed == as_it_is else changed


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
    """What would be run, and what is finished; where nothing is, the inputs are looked for."""
    found = gather(plan)
    if not found.folders:
        base = plan.config(plan.plain, CONTROL, plan.seeds[0])
        train(base.model_copy(update={"check": True}))
    out = result_console()
    out.print(f"{config.table.title} at scale {config.scale.name}", highlight=False)
    for name, result in found.results.items():
        title = name or AS_IT_IS
        done, all_of_it = len(result.outcomes), len(result.outcomes) + len(result.absent)
        if not all_of_it:
            continue
        rows = ", ".join(result.systems)
        out.print(
            f"{title}: {done} of {all_of_it} runs are finished; rows {rows}; seeds "
            f"{', '.join(map(str, plan.seeds))}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if UNSEEN in config.table.tables:
        count = count_evaluated(plan, found)
        out.print(f"{count} of these are evaluated on unseen directions", highlight=False)
    if PROBED in config.table.tables:
        count = count_probed(found, config.table.probe)
        out.print(f"{count} of the methods' runs are probed", highlight=False)
    if asks_comet(config):
        count = count_scored(config, plan, found)
        out.print(f"{count} of these are scored with COMET", highlight=False)
    for reason in _reasons(found):
        out.print(reason, highlight=False, markup=False, soft_wrap=True)


def _reasons(found: Found) -> list[str]:
    for measured in (found.unseen, found.probed):
        if measured is not None:
            return measured.result.missing()
    return [
        line if name == PLAIN else f"{name}: {line}"
        for name, result in found.results.items()
        for line in result.missing()
    ]
