"""`nsmt reproduce zero_shot`: every run is evaluated once, and its numbers are its own."""

import csv
import json
from functools import partial

import pytest
from most_vowels import NoFrench
from reproductions import NS, as_if_finished, configured, planned

from nsmt.cli import main
from nsmt.commands import reproduce as command
from nsmt.commands import reproduce_unseen as unseen_of_runs
from nsmt.commands import zero_shot as evaluation
from nsmt.commands.reproduce import output_folder
from nsmt.commands.reproduce_results import gather
from nsmt.commands.reproduce_unseen import (
    count_evaluated,
    evaluate_unseen,
    gather_unseen,
    require_judge,
)
from nsmt.commands.score import score_texts
from nsmt.errors import ConfigurationError, DataError
from nsmt.methods import CONTROL, DENSE, LABELS

UNSEEN = ("de-nl", "de-fr", "nl-de", "nl-fr", "fr-de", "fr-nl")


@pytest.fixture
def words(tmp_path, corpora):
    place = (f"paths.runs={tmp_path}/runs", f"paths.corpora={corpora}")
    return ("zero_shot", "scale=smoke", f"methods=[{NS}]", "callbacks.progress=false", *place)


@pytest.fixture
def make_plan(words, finished_run):
    return lambda *seeds: as_if_finished(words, seeds, finished_run)


@pytest.fixture
def translated(monkeypatch):
    """The labels of the systems that translate, as they do."""
    labels = []

    def translate(trained, *rest, **named):
        labels.append(named["label"])
        return score_texts(trained, *rest, **named)

    monkeypatch.setattr(evaluation, "score_texts", translate)
    return labels


def evaluations(plan, method, seed):
    (place,) = (plan.folder(plan.plain, method, seed) / "evaluations").iterdir()
    return place


@pytest.mark.slow
def test_every_finished_run_is_evaluated_and_nothing_is_translated_twice(make_plan, translated):
    plan = make_plan(1, 2)
    assert evaluate_unseen(plan, gather(plan)) == {}
    once = [LABELS[name] for name in (DENSE, CONTROL)]
    assert translated == [*once, *once, LABELS[NS], LABELS[NS]]
    assert count_evaluated(plan, gather(plan)) == 4
    made = {path: path.stat().st_mtime_ns for path in evaluations(plan, NS, 1).rglob("*")}
    translated.clear()
    assert evaluate_unseen(plan, gather(plan)) == {}
    assert {path: path.stat().st_mtime_ns for path in made} == made

    # One that was stopped, and one whose run was finished anew, are scored again.
    (evaluations(plan, NS, 2) / "record.json").unlink()
    path = plan.folder(plan.plain, CONTROL, 1) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": "later"}))
    assert count_evaluated(plan, gather(plan)) == 2
    assert evaluate_unseen(plan, gather(plan)) == {}
    assert count_evaluated(plan, gather(plan)) == 4
    assert translated == []


@pytest.mark.slow
def test_the_numbers_of_each_seed_and_system_are_in_the_table(make_plan, words, capsys):
    plan = make_plan(1, 2)
    evaluate_unseen(plan, gather(plan))
    own = json.loads((evaluations(plan, NS, 1) / "results" / "zero_shot.json").read_text())
    assert tuple(own["directions"]) == UNSEEN
    # All runs are copies: the second seed's method gets better, to be told from the first's.
    for path in (evaluations(plan, NS, 2) / "results").glob("against-*.json"):
        plain = json.loads(path.read_text())
        for system in plain["systems"]:
            for scores in system["scores"].values():
                scores["off-target"] += 3.0 * (system["name"] == NS)
        path.write_text(json.dumps(plain))
    main(["reproduce", *words, "collect=true"])
    assert "Zero-shot: 6 directions" in capsys.readouterr().out
    folder = output_folder(configured(*words))
    with (folder / "tables" / "zero_shot.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["System"]: row for row in csv.DictReader(file)}
    for name in (DENSE, CONTROL, NS):
        for metric, heading in (("bleu", "BLEU"), ("chrf++", "chrF++")):
            values = [e["systems"][name]["scores"][metric] for e in own["directions"].values()]
            assert rows[LABELS[name]][heading] == f"{sum(values) / 6:.2f} ± 0.00"
    rates = {
        name: sum(e["systems"][name]["rates"]["off-target"] for e in own["directions"].values()) / 6
        for name in (CONTROL, NS)
    }
    row = rows[LABELS[NS]]
    assert row["off-target % ↓"] == f"{rates[NS] + 1.5:.2f} ± {3 / 2**0.5:.2f}"
    assert row["Δ off-target % ↓"].startswith(f"{rates[NS] + 1.5 - rates[CONTROL]:+.2f} [")
    notes = (folder / "tables" / "zero_shot.md").read_text()
    assert "the identifier's own error" in notes
    assert "Zero-shot: 6 directions" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_methods_with_weights_of_their_own_are_trained_and_evaluated_once(words):
    methods = ("adapter_family", "lass")
    words = [word for word in words if not word.startswith("methods")]
    words += ["seeds=[1]", f"methods=[{','.join(methods)}]"]
    main(["reproduce", *words])
    folder = output_folder(configured(*words))
    with (folder / "tables" / "zero_shot.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["System"]: row for row in csv.DictReader(file)}
    assert list(rows) == [LABELS[name] for name in (DENSE, CONTROL, *methods)]
    assert {row["Seeds"] for row in rows.values()} == {"1"}
    plan = planned(*words)
    assert count_evaluated(plan, gather(plan)) == 1 + len(methods)
    places = [evaluations(plan, method, 1) for method in (CONTROL, *methods)]
    made = {path: path.stat().st_mtime_ns for place in places for path in place.rglob("*")}
    main(["reproduce", *words])
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.slow
def test_rates_are_over_the_directions_into_languages_that_are_identified(
    make_plan, words, monkeypatch
):
    monkeypatch.setattr(
        unseen_of_runs, "zero_shot", partial(evaluation.zero_shot, identifier_of=NoFrench)
    )
    plan = make_plan(1, 2)
    assert evaluate_unseen(plan, gather(plan)) == {}
    found = gather_unseen(plan, gather(plan), {})
    assert found.unidentified == ("fr",)
    assert tuple(map(str, found.directions)) == UNSEEN
    own = json.loads((evaluations(plan, NS, 1) / "results" / "zero_shot.json").read_text())
    rates = [
        entry["systems"][NS]["scores"]["off-target"]
        for name, entry in own["directions"].items()
        if not name.endswith("-fr")
    ]
    main(["reproduce", *words, "collect=true"])
    tables = output_folder(configured(*words)) / "tables"
    with (tables / "zero_shot.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["System"]: row for row in csv.DictReader(file)}
    assert rows[LABELS[NS]]["off-target % ↓"] == f"{sum(rates) / 4:.2f} ± 0.00"
    assert rows[LABELS[NS]]["Δ off-target % ↓"] != "–"
    assert "does not know fr" in (tables / "zero_shot.md").read_text()
    path = tables / "zero_shot-off-target-directions.csv"
    ways = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    unknown = {row["Direction"] for row in ways if row["over seeds"] == "–"}
    assert unknown == {"de-fr", "nl-fr"}


def test_a_run_that_cannot_be_evaluated_is_named_and_the_others_are(make_plan):
    plan = make_plan(1)
    (plan.folder(plan.plain, NS, 1) / NS / "checkpoint" / "atlas.safetensors").write_bytes(b"")
    failed = evaluate_unseen(plan, gather(plan))
    assert failed.keys() == {(NS, 1)}
    unseen = gather_unseen(plan, gather(plan), failed)
    (line,) = unseen.result.missing()
    assert line.startswith("missing: neuron specialisation, seed 1: ")
    assert "atlas.safetensors" in line
    assert [outcome.method for outcome in unseen.result.outcomes] == [CONTROL]


@pytest.mark.parametrize("changed", ["too_small", "sentences"])
def test_evaluations_on_other_test_sets_are_not_averaged(make_plan, changed):
    plan = make_plan(1)
    assert evaluate_unseen(plan, gather(plan)) == {}
    path = evaluations(plan, NS, 1) / "results" / "zero_shot.json"
    told = json.loads(path.read_text())
    if changed == "too_small":
        told["too_small"]["de-nl"] = 1
    else:
        told["directions"]["de-fr"]["sentences"] -= 1
    path.write_text(json.dumps(told))
    with pytest.raises(DataError, match="other test sets than") as found:
        gather_unseen(plan, gather(plan), {})
    assert str(evaluations(plan, NS, 1)) in found.value.problem


def test_what_was_not_evaluated_is_told(make_plan, words, capsys):
    plan = make_plan(1)
    found = gather(plan)
    with pytest.raises(DataError, match="was not evaluated on unseen directions"):
        gather_unseen(plan, found, {})
    main(["reproduce", *words, "seeds=[1]", "--check"])
    assert "0 of these are evaluated" in capsys.readouterr().out


def test_rows_that_cannot_translate_unseen_directions_are_refused():
    with pytest.raises(ConfigurationError, match="bilingual: it has a model for each trained pair"):
        planned("zero_shot", "scale=smoke", "methods=[bilingual]")


def test_what_an_evaluation_lacks_is_told_before_anything_is_trained(words, monkeypatch):
    require_judge(planned(*words))
    wrong = (*words, "scale.zero_shot.languages=[de,frr]")
    with pytest.raises(ConfigurationError, match="did you mean 'fr'"):
        require_judge(planned(*wrong))
    monkeypatch.setattr(command, "_run", lambda _: pytest.fail("trained"))
    with pytest.raises(ConfigurationError, match="cannot be evaluated"):
        command.reproduce(configured(*wrong))
