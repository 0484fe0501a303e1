"""Made-up reproductions whose tables can be worked out by hand."""

import numpy as np

from nsmt.evaluation.groups import groups_of
from nsmt.evaluation.resamples import Resamples
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.languages import Direction, LanguageSettings, LanguageTable, both_ways
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.reporting.reproduction import Outcome, Reproduction, Trained

NS, RANDOM, BILINGUAL = "neuron_specialization", "random", "bilingual"
TIERS = {"de": "High", "nl": "Low", "ar": "Low"}
# Above the dense model, by system; a seed adds 1 to everything, and its number of tenths to NS.
ABOVE = {DENSE: 0.0, CONTROL: 1.0, NS: 1.5, RANDOM: 0.5, BILINGUAL: -2.0}
ABOVE |= {"lass": 1.5, "adapter_pair": 3.5}
BASE = {"en-de": 30.0, "de-en": 34.0, "en-nl": 20.0, "nl-en": 24.0, "en-ar": 10.0, "ar-en": 14.0}
BASE_CODES = ("de", "nl", "ar")
DIRECTIONS = both_ways([Direction("en", code) for code in BASE_CODES])
SIGNATURES = {"bleu": "b", "chrf++": "c", "nll": "n"}
# On resample s, NS is so much better, and random neurons so much, if s is even, else worse.
SWINGS = {NS: 0.2, RANDOM: 0.1}
SAMPLES = 50
# What notes say of the smallest visible difference.
HALF = "half of the 95 % interval; one as large is seen about half of the time"
PARAMETERS = {BILINGUAL: 6000}


def swing(system):
    return SWINGS.get(system, 0.0) * (-1.0) ** np.arange(SAMPLES)


def variance_of_swing(amplitude):
    """Over the resamples, of a difference that swings so far either way."""
    return amplitude**2 * SAMPLES / (SAMPLES - 1)


def languages(tiers):
    described = {code: LanguageSettings(tier=tier) for code, tier in tiers.items()}
    return LanguageTable([*BASE_CODES, "en"], described)


def score(system, seed, direction):
    return BASE[str(direction)] + ABOVE[system] + seed + (seed / 10 if system == NS else 0)


def scores(system, seed):
    bleu = {d: score(system, seed, d) for d in DIRECTIONS}
    return {d: {"bleu": v, "chrf++": 2 * v, "nll": 3.0 - v / 100} for d, v in bleu.items()}


def outcome(method, seed, *, tiers=TIERS, resampled=True, updates=None):
    names = list(dict.fromkeys((DENSE, CONTROL, method)))
    systems = tuple(
        SystemResult(name, LABELS.get(name, name), scores(name, seed), SIGNATURES) for name in names
    )
    groups = tuple(groups_of(DIRECTIONS, languages(tiers), pivot="en"))
    sentences = dict.fromkeys(DIRECTIONS, 10)
    against = {
        baseline: Comparison(baseline, systems, groups, {}, {}, sentences, SAMPLES, 1, True)
        for baseline in (CONTROL, DENSE)
    }
    values = {
        system.name: {
            metric: {
                d: of_metric[metric] + swing(system.name) * {"bleu": 1, "chrf++": 2}.get(metric, 0)
                for d, of_metric in system.scores.items()
            }
            for metric in SIGNATURES
        }
        for system in systems
    }
    trained = {
        name: Trained(PARAMETERS.get(name, 1000), ((updates or {}).get(name, 100),))
        for name in names
    }
    resamples = Resamples(values, "one draw") if resampled else None
    return Outcome(method, seed, against, resamples, trained)


def result(
    *methods, seeds=(1, 2), absent=(), tiers=TIERS, of_paper=False, resampled=True, updates=None
):
    outcomes = tuple(
        outcome(method, seed, tiers=tiers, resampled=resampled, updates=updates)
        for method in (CONTROL, *methods)
        for seed in seeds
    )
    rows = (*methods, *dict.fromkeys(each.method for each in absent if each.method not in methods))
    return Reproduction(
        tuple(row for row in rows if row != CONTROL),
        outcomes,
        tuple(absent),
        LABELS,
        languages(tiers),
        "en",
        of_paper,
    )


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def named(table, system, **more):
    label = LABELS.get(system, system)
    (found,) = [
        row
        for row in rows(table)
        if row["System"] == label and all(row[key] == value for key, value in more.items())
    ]
    return found


def notes(table):
    return " ".join(table.notes)
