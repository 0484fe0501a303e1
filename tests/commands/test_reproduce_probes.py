"""`nsmt reproduce probes`: every method's run is probed once, and its numbers are over seeds."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest
from reproductions import NS, as_if_finished, configured, planned

from nsmt.cli import main
from nsmt.commands import probe as probing
from nsmt.commands import reproduce as command
from nsmt.commands.reproduce import output_folder
from nsmt.commands.reproduce_plan import PLAIN, plan_of
from nsmt.commands.reproduce_probes import (
    _asked,
    count_probed,
    gather_probed,
    probe_runs,
    require_probe_words,
)
from nsmt.commands.reproduce_results import gather
from nsmt.errors import ConfigurationError, DataError
from nsmt.methods import CONTROL

QUICK = (
    "probes=[interventions,gradients,transfer,stability,family]",
    "interventions.bootstrap_samples=20",
    "interventions.random_seeds=[1]",
    "interventions.k=[70]",
    "gradients.tokens=60",
    "transfer.tokens=60",
    "stability.replicas=3",
    "progress=false",
)


@pytest.fixture
def words(tmp_path, corpora):
    quick = ",".join(f"'{word}'" for word in QUICK)
    place = (f"paths.runs={tmp_path}/runs", f"paths.corpora={corpora}")
    return ("probes", "scale=smoke", f"methods=[{NS}]", f"table.probe=[{quick}]", *place)


@pytest.fixture
def make_plan(words, finished_run, monkeypatch):
    monkeypatch.setattr(probing, "save_figure", lambda *_: None)
    return lambda *seeds: as_if_finished(words, seeds, finished_run)


@pytest.fixture
def measured(monkeypatch):
    """The probes that are measured, in order."""
    names = []

    def watched(name, measure):
        def call(*rest, **named):
            names.append(name)
            return measure(*rest, **named)

        return call

    every = {name: watched(name, measure) for name, measure in probing._MEASURES.items()}
    monkeypatch.setattr(probing, "_MEASURES", every)
    return names


def probes_of(plan, seed):
    return plan.folder(plan.plain, NS, seed) / "probes"


def probed(plan):
    return count_probed(gather(plan), QUICK)


@pytest.mark.slow
def test_every_run_of_a_method_is_probed_and_nothing_is_measured_twice(make_plan, measured):
    plan = make_plan(1, 2)
    order = ["interventions", "gradients", "transfer", "stability", "family"]
    assert probe_runs(gather(plan), QUICK) == {}
    assert measured == order * 2
    assert not (plan.base(1) / "probes").exists()
    assert probed(plan) == 2
    made = {path: path.stat().st_mtime_ns for path in probes_of(plan, 1).rglob("*")}
    assert probe_runs(gather(plan), QUICK) == {}
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert measured == order * 2

    # One that was killed goes on; one with other weights is measured again.
    (probes_of(plan, 1) / "transfer.json").unlink()
    run = plan.folder(plan.plain, NS, 2)
    shutil.rmtree(run / NS)
    shutil.copytree(run / CONTROL, run / NS)
    measured.clear()
    assert probed(plan) == 0
    assert probe_runs(gather(plan), QUICK) == {}
    assert measured == ["transfer", "interventions", "gradients", "transfer"]


def test_what_looks_at_the_dense_model_alone_is_asked_of_one_run_a_seed(words):
    config = configured(*words, f"methods=[{NS},random]", "seeds=[1,2]")
    plan = plan_of(config)
    rows = [(CONTROL, 1), (CONTROL, 2), (NS, 2), ("random", 1), ("random", 2)]
    folders = {(PLAIN, method, seed): Path(f"{method}-{seed}") for method, seed in rows}
    found = replace(gather(plan), folders=folders)
    asked = {row: (config.run, list(config.probes)) for row, config in _asked(found, QUICK)}
    shared = ["interventions", "gradients", "transfer"]
    assert asked == {
        (NS, 2): (f"{NS}-2", [*shared, "stability", "family"]),
        ("random", 1): ("random-1", [*shared, "stability", "family"]),
        ("random", 2): ("random-2", shared),
    }


@pytest.mark.slow
def test_the_numbers_of_each_seed_are_in_the_table(make_plan, words, capsys):
    plan = make_plan(1, 2)
    assert probe_runs(gather(plan), QUICK) == {}
    # All runs are copies: the second seed's numbers are made its own.
    path = probes_of(plan, 2) / "transfer.json"
    kept = json.loads(path.read_text())
    kept["result"]["systems"][NS]["own"] *= 3
    path.write_text(json.dumps(kept))
    main(["reproduce", *words, "collect=true"])
    assert "Probes: the bars" in capsys.readouterr().out
    tables = output_folder(configured(*words)) / "tables"
    with (tables / "probes-transfer.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [
        row
        for row in rows
        if (row["Measure"], row["Model"], row["Of"])
        == ("actual", "neuron specialisation", "own direction")
    ]
    own = kept["result"]["systems"][NS]["own"]
    values = [own / 3, own]
    assert [row["seed 1"], row["seed 2"]] == [f"{value:+.2e}" for value in values]
    assert (row["Mean"], row["Deviation"]) == (f"{mean(values):+.2e}", f"{stdev(values):.2e}")
    models = {row["Model"] for row in rows}
    assert models == {"dense", "continue-dense", "neuron specialisation"}
    for end in ("", "-interventions", "-family", "-stability", "-gradients"):
        assert "Smallest visible difference" in (tables / f"probes{end}.md").read_text()


@pytest.mark.slow
def test_a_run_that_cannot_be_probed_is_named_and_the_others_are(make_plan):
    plan = make_plan(1, 2)
    (plan.folder(plan.plain, NS, 1) / NS / "checkpoint" / "atlas.safetensors").write_bytes(b"")
    failed = probe_runs(gather(plan), QUICK)
    assert failed.keys() == {(NS, 1)}
    found = gather_probed(gather(plan), QUICK, failed)
    (line,) = found.result.missing()
    assert line.startswith("missing: neuron specialisation, seed 1: ")
    assert "atlas.safetensors" in line
    assert {seed for _, _, seed in found.found} == {2}


def test_what_was_not_probed_is_told(make_plan, words, capsys):
    plan = make_plan(1)
    with pytest.raises(DataError, match="no run was probed: was not probed"):
        gather_probed(gather(plan), QUICK, {})
    main(["reproduce", *words, "seeds=[1]", "--check"])
    assert "0 of the methods' runs are probed" in capsys.readouterr().out


def test_damaged_results_are_named(make_plan):
    plan = make_plan(1)
    probes_of(plan, 1).mkdir()
    (probes_of(plan, 1) / "family.json").write_text("[]")
    failed = probe_runs(gather(plan), QUICK)
    assert "family.json is damaged" in failed[NS, 1]
    assert probed(plan) == 0
    for told in (failed, {}):
        with pytest.raises(DataError, match=r"no run was probed: .*family\.json is damaged"):
            gather_probed(gather(plan), QUICK, told)


def test_wrong_words_and_rows_of_several_models_are_refused_before_training(words, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"did you mean 'gradients\.tokens'"):
        require_probe_words(("gradients.token=3",))
    monkeypatch.setattr(command, "_run", lambda _: pytest.fail("trained"))
    with pytest.raises(ConfigurationError, match="every run of the table is probed"):
        command.reproduce(configured(*words, "table.probe=['run=x']"))
    with pytest.raises(ConfigurationError, match="nothing can be probed in lass"):
        planned(*words, "methods=[lass]")


def test_settings_of_the_probes_name_the_output(words):
    plain = configured("probes", "scale=smoke")
    assert output_folder(plain).name == "probes-smoke"
    assert output_folder(configured(*words)) != output_folder(plain)
