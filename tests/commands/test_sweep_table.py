"""`nsmt sweep table` finds runs, pairs their seeds, and refuses what does not belong together."""

import csv
import json
import shutil

import pytest

from nsmt.cli import main
from nsmt.commands.sweeps import Job, Sweep


@pytest.fixture
def runs(finished_run, tmp_path):
    """Four finished runs: k = 80 and 95, seeds 1 and 2, with other scores each."""
    for k in (80.0, 95.0):
        for seed in (1, 2):
            folder = tmp_path / "runs" / f"small-{k:g}-{seed}"
            shutil.copytree(finished_run, folder)
            record = json.loads((folder / "record.json").read_text())
            record["config"]["selection"]["k"] = k
            record["config"]["seed"] = record["seed"] = seed
            (folder / "record.json").write_text(json.dumps(record))
            for path in (folder / "results").glob("*.json"):
                plain = json.loads(path.read_text())
                for system in plain["systems"]:
                    for found in system["scores"].values():
                        found["bleu"] = 10 + k / 10 + seed + len(system["name"]) / 100
                path.write_text(json.dumps(plain))
    return tmp_path / "runs"


def table(runs, *words):
    main(["sweep", "table", f"paths.runs={runs}", f"output={runs}/out", *words])
    with (runs / "out" / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def fails(capsys, runs, *words):
    with pytest.raises(SystemExit) as end:
        table(runs, *words)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_runs_that_differ_in_k_are_rows_and_seeds_are_not(runs):
    found = table(runs)
    assert {(row["selection.k"], row["Seeds"]) for row in found} == {("80.0", "2"), ("95.0", "2")}
    assert all("±" in row["BLEU"] for row in found)
    for name in ("gains", "settings"):
        assert {p.suffix for p in (runs / "out").glob(f"{name}.*")} == {".csv", ".md", ".tex"}
    assert (runs / "out" / "figures" / "bleu-by-selection.k.svg").is_file()


def test_settings_of_one_method_are_blank_for_others(runs):
    for place, folder in enumerate(sorted(runs.glob("small-95-*"))):
        record = json.loads((folder / "record.json").read_text())
        record["config"]["method"] = {"name": "bernoulli", "seed": 1, "rate": 0.5}
        record["config"]["seed"] = record["seed"] = place + 1
        (folder / "record.json").write_text(json.dumps(record))
    found = table(runs, "keys=[method.name,method.rate]")
    rates = {row["method.name"]: row["method.rate"] for row in found}
    assert rates == {"neuron_specialization": "–", "bernoulli": "0.5"}


def test_runs_are_chosen_by_their_settings(runs):
    assert {
        row["selection.k"] for row in table(runs, "where.selection.k=80", "keys=[selection.k]")
    } == {"80.0"}


def test_the_reference_is_chosen(runs):
    table(runs, "reference.selection.k=95")
    assert "selection.k=95.0" in (runs / "out" / "settings.md").read_text()


def test_a_sweep_names_its_runs_and_what_was_swept(runs):
    sweep = Sweep(runs / "sweeps" / "one")
    for number, (seed, name) in enumerate([(1, "small-80-1"), (2, "small-80-2")]):
        words = ("experiment=x", f"seed={seed}", f"model=m{seed}")
        sweep.write_job(Job(number, words, "finished", run=str(runs / name)))
    found = table(runs, f"sweep={sweep.folder}")
    assert {row["model"] for row in found} == {"m1", "m2"}
    assert "experiment" not in found[0]


def test_a_run_that_is_not_finished_is_left_out_and_named(runs, capsys):
    path = runs / "small-80-1" / "record.json"
    record = json.loads(path.read_text())
    del record["finished"]
    path.write_text(json.dumps(record))
    (runs / "small-80-1" / "failure.json").write_text(json.dumps({"reason": "no memory"}))
    assert {row["Seeds"] for row in table(runs)} == {"1", "2"}
    assert "small-80-1 failed: no memory" in " ".join(capsys.readouterr().err.split())
    for damaged in ("{ cut", "[]", '{"reasons": 1}'):
        (runs / "small-80-1" / "failure.json").write_text(damaged)
        table(runs)
        assert "failure.json is damaged" in " ".join(capsys.readouterr().err.split())


def test_what_does_not_belong_together_is_refused(runs, tmp_path, capsys):
    assert "differ in something else" in fails(capsys, runs, "keys=[]")
    assert "no finished run" in fails(capsys, runs, "where.selection.k=70")
    assert "'selection.kk'" in fails(capsys, runs, "where.selection.kk=70")
    assert "no setting of these runs" in fails(capsys, runs, "reference.selection.k=1")
    assert "choose one of" in fails(capsys, runs, "group=Klingon")
    assert "not the folder of a sweep" in fails(capsys, runs, f"sweep={tmp_path}")
    path = runs / "small-80-1" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_fingerprint": "other"}))
    assert "other text" in fails(capsys, runs)


def test_a_damaged_job_file_is_named(runs, capsys):
    sweep = Sweep(runs / "sweeps" / "one")
    sweep.write_job(Job(0, (), "finished"))
    sweep.job_path(0).write_text("{ cut")
    assert "0000.json is damaged" in fails(capsys, runs, f"sweep={sweep.folder}")
