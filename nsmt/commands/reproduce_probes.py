"""The table of probes: every finished run of a method, probed as `nsmt probe run=FOLDER` does.

The dense model and continue-dense are in these runs, so those of continue-dense alone are left out.
All runs of a seed have the same dense model, so what looks at it alone is asked of the first.
What was measured of the same weights with the same settings is not measured again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from nsmt.commands.compose import composed
from nsmt.commands.probe import DENSE_ALONE, ProbeConfig, kept_probes, probe
from nsmt.commands.reproduce_plan import PLAIN
from nsmt.commands.reproduce_results import Found
from nsmt.errors import ConfigurationError, DataError, NsmtError, PreemptionError
from nsmt.methods import CONTROL
from nsmt.probing.settings import ProbeName
from nsmt.reporting.probes_over_seeds import Probed
from nsmt.reporting.reproduction import Absence

Row = tuple[str, int]
_MISSING = "was not probed; without collect=true it is"


def require_probe_words(words: tuple[str, ...]) -> None:
    """A ConfigurationError if `nsmt probe` would not take the words; before anything is trained."""
    if chosen := [word for word in words if word.lstrip("+").startswith("run=")]:
        raise ConfigurationError(
            f"table.probe has {chosen[0]}, but every run of the table is probed",
            fix="leave it out",
        )
    _composed(words)


def probe_runs(found: Found, words: tuple[str, ...]) -> dict[Row, str]:
    """Probe the runs that have not been; why those that cannot be are not, by row."""
    failed = {}
    for row, config in _asked(found, words):
        try:
            if len(kept_probes(config)) < len(set(config.probes)):
                probe(config)
        except PreemptionError:
            raise
        except NsmtError as error:
            failed[row] = f"{error.problem} (fix: {error.fix})"
    return failed


def count_probed(found: Found, words: tuple[str, ...]) -> int:
    """How many of the methods' finished runs have all that is asked for."""
    return sum(isinstance(_kept(config), dict) for _, config in _asked(found, words))


def gather_probed(found: Found, words: tuple[str, ...], failed: Mapping[Row, str]) -> Probed:
    """What the probes found; runs without are named, by `failed` with why.

    DataError if there is none.
    """
    trained = found.results[PLAIN]
    results, reasons = dict[tuple[str, str, int], Mapping[str, Any]](), dict(failed)
    for row, config in _asked(found, words):
        kept = _kept(config)
        if row in failed or isinstance(kept, str):
            reasons.setdefault(row, str(kept))
        else:
            results |= {(name, *row): of_probe["result"] for name, of_probe in kept.items()}
    if not results:
        whys = [each.reason for each in trained.absent if each.method != CONTROL]
        raise DataError(
            "no run was probed: " + "; ".join(dict.fromkeys([*whys, *reasons.values()])),
            fix="run the command without collect=true, or mend what it says",
        )
    outcomes = [each for each in trained.outcomes if (each.method, each.seed) not in reasons]
    absent = [*trained.absent, *(Absence(*row, why) for row, why in reasons.items())]
    return Probed(replace(trained, outcomes=tuple(outcomes), absent=tuple(absent)), results)


def _kept(config: ProbeConfig) -> dict[ProbeName, dict[str, Any]] | str:
    """All that was asked for, or why it is not there."""
    try:
        kept = kept_probes(config)
    except NsmtError as error:
        # One damaged run keeps its own row out, and no other.
        return f"{error.problem} (fix: {error.fix})"
    return kept if len(kept) == len(set(config.probes)) else _MISSING


def _asked(found: Found, words: tuple[str, ...]) -> Iterator[tuple[Row, ProbeConfig]]:
    """What `nsmt probe` would be told of each finished run of a method, the plain condition's."""
    config, seen = _composed(words), set[int]()
    for (condition, method, seed), folder in found.folders.items():
        if condition != PLAIN or method == CONTROL:
            continue
        # Empty where nothing else was asked for.
        probes = tuple(n for n in config.probes if seed not in seen or n not in DENSE_ALONE)
        seen.add(seed)
        yield (method, seed), config.model_copy(update={"run": str(folder), "probes": probes})


@cache
def _composed(words: tuple[str, ...]) -> ProbeConfig:
    """Once for all runs."""
    return composed("probe", [*words, "run=."], ProbeConfig)
