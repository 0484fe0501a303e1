"""Claims about `evaluate eval=comet`: COMET of the translations that a run has kept."""

import json

import pytest
from comet_program import calls, comet_environment, segment_score

from nsmt.commands.compose import composed
from nsmt.commands.evaluate import EvaluateConfig, evaluate
from nsmt.errors import DataError
from nsmt.evaluation.results import Comparison

SYSTEMS = ("dense", "continue_dense", "neuron_specialization")


def evaluated(run, environment, *words):
    words = (f"run={run}", f"eval.environment={environment}", "progress=false", *words)
    paths = (f"paths.downloads={environment.parent}/downloads",)
    return evaluate(composed("evaluate", ["eval=comet", *words, *paths], EvaluateConfig))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return comet_environment(tmp_path_factory.mktemp("comet") / "environment")


@pytest.fixture(scope="module")
def results(finished_run, environment):
    return evaluated(finished_run, environment, f"output={environment.parent}/results")


def lines(path):
    return path.read_text().split("\n")[:-1]


def test_scores_are_means_over_the_translations_kept(results, finished_run):
    for baseline in SYSTEMS[:2]:
        path = results / "results" / f"against-{baseline}.json"
        comparison = Comparison.from_json(path.read_text())
        assert [system.name for system in comparison.systems] == list(SYSTEMS)
        for system in comparison.systems:
            for direction, found in system.scores.items():
                place = finished_run / "translations" / str(direction)
                pairs = zip(
                    lines(place / f"hyp.{system.name}.txt"), lines(place / "ref.txt"), strict=True
                )
                scores = [segment_score(*pair) for pair in pairs]
                assert found["comet"] == pytest.approx(sum(scores) / len(scores))


def test_tables_have_differences_and_the_certificate_has_model_and_signature(results):
    assert "COMET" in (results / "tables" / "main.md").read_text()
    for name in ("groups-comet", "directions-comet"):
        assert "[" in (results / "tables" / f"{name}.csv").read_text()
    record = json.loads((results / "record.json").read_text())
    assert record["comet"]["model"] == "Unbabel/wmt22-comet-da"
    assert record["comet"]["signature"].endswith("version:unbabel-comet 2.2.7")
    shown = (results / "tables" / "main.md").read_text().replace("\\|", "|")
    assert record["comet"]["signature"] in shown


def test_every_system_is_scored_in_one_process_and_never_again(
    results, finished_run, environment, tmp_path
):
    before = calls(environment)
    assert len(before) <= len(SYSTEMS)
    again = evaluated(finished_run, environment, f"output={tmp_path}/again")
    assert calls(environment) == before
    name = "results/against-dense.json"
    assert (again / name).read_text() == (results / name).read_text()


def test_translations_that_were_changed_are_refused(run_copy, environment):
    path = run_copy / "translations" / "en-de" / "hyp.dense.txt"
    path.write_text("changed\n" + path.read_text().partition("\n")[2])
    with pytest.raises(DataError, match="no whole translations of dense"):
        evaluated(run_copy, environment)
