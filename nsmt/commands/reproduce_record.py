"""The certificate of a reproduction: that of the collection, and what each run's says beyond it.

Every number of a table is made of runs, each trained by a command of its own, at times on another
machine or by another version than the page was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nsmt.commands.reproduce_plan import AS_IT_IS, Plan, ReproduceConfig
from nsmt.commands.reproduce_results import Found
from nsmt.records import certificate, command_line, now, read_record

# Said of a run only where they are not the reproduction's.
_SHARED: Final = ("nsmt", "packages", "data_fingerprint")


def reproduction_record(config: ReproduceConfig, plan: Plan, found: Found) -> dict[str, Any]:
    """The certificate, with an entry for each row and seed: its run, or why it has none."""
    made = certificate(
        command=command_line(),
        config=config.model_dump(mode="json"),
        seed=plan.seeds[0],
        fingerprint=found.record.get("data_fingerprint"),
    )
    runs: dict[str, dict[str, Any]] = {
        _row(condition, method, seed): {"run": folder.name} | run_entry(read_record(folder), made)
        for (condition, method, seed), folder in found.folders.items()
    }
    for name, result in found.results.items():
        for each in result.absent:
            runs[_row(name, each.method, each.seed)] = {"missing": each.reason}
    return made | {"finished": now(), "seeds": list(plan.seeds), "runs": runs}


def run_entry(record: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """What a finished run's certificate says beyond that of the reproduction, `made`.

    The commit is that of the first attempt, which made the first stages; command, environment and
    packages are those of the last. Of the command, words of `paths.` are left out: they say
    where the run was kept.
    """
    attempts: list[Mapping[str, Any]] = [*record.get("resumed", []), record]
    first, *later = attempts
    words = record["command"].split(" ")
    entry = {
        "commit": first["commit"],
        "command": " ".join(word for word in words if not word.lstrip("+").startswith("paths.")),
        "started": first["started"],
        "finished": record["finished"],
        "environment": record["environment"],
    }
    if later:
        entry["went_on"] = [{key: each[key] for key in ("commit", "started")} for each in later]
    for key in _SHARED:
        # Runs of an older version may lack some.
        if key in record and record[key] != made[key]:
            entry[key] = record[key]
    return entry


def shown_runs(record: Mapping[str, Any]) -> dict[str, str]:
    """The runs of a reproduction's certificate in a line each, for its page."""
    return {
        row: f"missing: {of_run['missing']}"
        if "missing" in of_run
        else f"{of_run['run']}, commit {of_run['commit']}"
        for row, of_run in record["runs"].items()
    }


def _row(condition: str, method: str, seed: int) -> str:
    return f"{condition or AS_IT_IS}, {method}, seed {seed}"
