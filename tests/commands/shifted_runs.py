"""Runs that are there as if a reproduction had trained them, no two with the same scores."""

import json
import shutil

from reproductions import NS

from nsmt.evaluation.resamples import Resamples
from nsmt.evaluation.results import Comparison
from nsmt.methods import CONTROL, DENSE

# What scores of a run are above those of the one run that all are copies of.
# The selection's own k is 95: that condition is the plain one.
OF_CONDITION = {"": 0.0, "k-50": 5.0, "k-70": 10.0, "k-80": 20.0, "k-90": 30.0, "k-95": 0.0}
OF_CONDITION |= {"k-98": 40.0}
OF_METHOD = {DENSE: 0.0, CONTROL: 0.0, NS: 2.0, "random": 1.0, "bilingual": -3.0}


def above(condition, system, seed):
    """More by seed and condition, and a method has its own over the others by both."""
    own = OF_METHOD[system] and OF_METHOD[system] + seed / 10 + OF_CONDITION[condition] / 100
    return OF_CONDITION[condition] + seed + own


def shift(folder, condition, seed):
    """Change every BLEU score of a run's results, so that no two runs have the same."""
    for path in (folder / "results").glob("*.json"):
        plain = json.loads(path.read_text())
        for system in plain["systems"]:
            for scores in system["scores"].values():
                scores["bleu"] += above(condition, system["name"], seed)
        path.write_text(json.dumps(plain))


def rename(folder, method):
    """Have the run's method be another."""
    (folder / NS).rename(folder / method)
    record = json.loads((folder / "record.json").read_text())
    record["stages"] = [method if name == NS else name for name in record["stages"]]
    (folder / "record.json").write_text(json.dumps(record))
    for path in (folder / "results").glob("*.json"):
        path.write_text(path.read_text().replace(NS, method))
    path = folder / "results" / "resamples.safetensors"
    kept = Resamples.load(path)
    values = {method if name == NS else name: of for name, of in kept.values.items()}
    Resamples(values, kept.drawn).save(path)


def finish(plan, run):
    """Put copies of one run where all of a plan are looked for."""
    for condition in plan.conditions:
        for method in {CONTROL, *condition.methods} if not condition.name else {NS}:
            for seed in plan.seeds:
                folder = plan.folder(condition, method, seed)
                if folder.exists():
                    continue
                shutil.copytree(run, folder)
                record = json.loads((folder / "record.json").read_text())
                config = plan.config(condition, method, seed)
                record["config"] = config.model_dump(mode="json")
                (folder / "record.json").write_text(json.dumps(record))
                if method not in (CONTROL, NS):
                    rename(folder, method)
                shift(folder, condition.name, seed)


def base_scores(run, metric="bleu"):
    """The means over all directions of the one run."""
    text = (run / "results" / f"against-{CONTROL}.json").read_text()
    comparison = Comparison.from_json(text)
    directions = comparison.directions
    return {system.name: system.mean(metric, directions) for system in comparison.systems}
