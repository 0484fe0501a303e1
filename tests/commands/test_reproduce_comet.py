"""`nsmt reproduce … comet.environment=FOLDER`: every finished run is scored once, if asked for."""

import csv
import itertools
import json
import shutil

import pytest
from comet_program import calls, comet_environment
from reproductions import NS, configured, planned

from nsmt.commands import reproduce as command
from nsmt.commands import reproduce_comet
from nsmt.commands.reproduce import output_folder
from nsmt.commands.reproduce_comet import count_scored, score_with_comet
from nsmt.commands.reproduce_results import gather
from nsmt.errors import ConfigurationError
from nsmt.methods import CONTROL, DENSE


@pytest.fixture
def environment(tmp_path):
    return comet_environment(tmp_path / "environment")


@pytest.fixture
def words(tmp_path, corpora, finished_run):
    """A reproduction whose runs are there as if they had come to their end: copies of one run."""
    place = (f"paths.runs={tmp_path}/runs", f"paths.corpora={corpora}")
    place = (*place, f"paths.downloads={tmp_path}/downloads", "callbacks.progress=false")
    words = ("table11", "scale=smoke", "seeds=[1]", *place)
    plan = planned(*words)
    for method, seed in itertools.product((CONTROL, NS), plan.seeds):
        folder = plan.folder(plan.plain, method, seed)
        shutil.copytree(finished_run, folder)
        record = json.loads((folder / "record.json").read_text())
        config = plan.config(plan.plain, method, seed)
        own = record["config"] | {"method": config.model_dump(mode="json")["method"]}
        stages = [DENSE, CONTROL] if method == CONTROL else record["stages"]
        (folder / "record.json").write_text(json.dumps(record | {"config": own, "stages": stages}))
    return words


@pytest.fixture
def untrained(monkeypatch):
    """Nothing is trained: what is there is all that there is."""
    monkeypatch.setattr(command, "_run", lambda _: 0)


def comet_rows(words):
    path = output_folder(configured(*words)) / "tables" / "table11.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Metric"] == "COMET"]
    # Our own scores: neither differences nor the paper's.
    return [row for row in rows if row["Seeds"] and "Δ" not in row["System"]]


def test_without_an_environment_nothing_is_scored(words, untrained, monkeypatch, capsys):
    monkeypatch.setattr(command, "score_with_comet", lambda *_: pytest.fail("scored"))
    command.reproduce(configured(*words))
    assert not comet_rows(words)
    text = " ".join(capsys.readouterr().out.split())
    assert "comet.environment=FOLDER does it for all runs" in text
    assert "evaluate.py eval=comet run=FOLDER for one" in text


def test_every_run_is_scored_once_and_in_the_table(words, environment, untrained, monkeypatch):
    asked = configured(*words, f"comet.environment={environment}")
    command.reproduce(asked)
    once = calls(environment)
    assert once
    assert {row["Seeds"] for row in comet_rows(words)} == {"1"}
    assert len(comet_rows(words)) == 3
    plan = planned(*words)
    assert count_scored(asked, plan, gather(plan)) == 2
    monkeypatch.setattr(reproduce_comet, "comet", lambda *_: pytest.fail("scored again"))
    command.reproduce(asked)
    assert calls(environment) == once


def test_a_run_scored_by_another_model_since_is_shown_by_the_one_asked_for(words, environment):
    plan, given = planned(*words), f"comet.environment={environment}"
    for model in ("a/a", "b/b", "a/a"):
        asked = configured(*words, given, f"comet.model={model}")
        assert score_with_comet(asked, plan, gather(plan)) == []
        assert count_scored(asked, plan, gather(plan)) == 2
        found = gather(plan).results[""].signatures["comet"]
        assert f"model:{model}|" in found


def test_a_run_that_cannot_be_scored_is_named_and_the_others_are(
    words, environment, untrained, capsys
):
    plan = planned(*words)
    path = plan.folder(plan.plain, NS, 1) / "translations" / "en-de" / "hyp.dense.txt"
    path.write_text("changed\n" + path.read_text().partition("\n")[2])
    asked = configured(*words, f"comet.environment={environment}")
    with pytest.raises(SystemExit) as end:
        command.reproduce(asked)
    assert end.value.code == 2
    text = " ".join(capsys.readouterr().out.split())
    assert f"not scored with COMET: {NS}, seed 1: " in text
    assert "no whole translations of dense" in text
    assert count_scored(asked, plan, gather(plan)) == 1


def test_an_environment_without_the_program_is_refused_before_training(words, monkeypatch):
    monkeypatch.setattr(command, "_run", lambda _: pytest.fail("trained"))
    with pytest.raises(ConfigurationError, match=r"^comet\.environment=nowhere has no") as found:
        command.reproduce(configured(*words, "comet.environment=nowhere"))
    assert "give comet.environment=comet" in found.value.fix
