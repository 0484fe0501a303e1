"""What `nsmt reproduce` makes of finished runs: every number is of its own seed and condition."""

import csv
import json
import shutil
from statistics import fmean, stdev

import pytest
from reproductions import NS, configured, planned
from shifted_runs import OF_CONDITION, OF_METHOD, above, base_scores, finish

from nsmt.cli import main
from nsmt.commands.reproduce import output_folder
from nsmt.commands.reproduce_plan import plan_of
from nsmt.commands.reproduce_results import gather
from nsmt.errors import DataError
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import masked_share


@pytest.fixture
def runs(finished_run, tmp_path):
    """The folders of a small reproduction, as if its runs had come to their end."""
    place = tmp_path / "runs"
    words = ("paper", "scale=smoke", f"methods=[random,{NS}]", f"paths.runs={place}")
    plan = planned(*words)
    finish(plan, finished_run)
    return words, plan, place


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_finished_runs_are_collected_into_tables_figures_and_a_page(runs, capsys):
    words, _, _ = runs
    main(["reproduce", *words, "collect=true"])
    assert "page: " in capsys.readouterr().out
    into = output_folder(configured(*words))
    assert into.name.startswith("paper-smoke-")
    page = (into / "report.html").read_text()
    titles = ("Claims", "Table 2: BLEU", "Table 3: efficiency", "Table 4", "Table 11", "against k")
    places = [page.index(title) for title in titles]
    assert places[0] == min(places)
    names = {path.stem for path in (into / "tables").glob("*.md")}
    assert {"table2", "table2-gains", "table2-gains-dense", "table2-bootstrap"} <= names
    assert {"claims", "table2-directions", "table2-chrfpp", "table2-nll", "k-chrfpp"} <= names
    assert {"table2-paper", "table3", "table3-arithmetic", "table4", "k"} <= names
    assert {"table2-chrfpp-paper", "table4-chrfpp", "table4-nll-bootstrap"} <= names
    assert "table2-nll-paper" not in names
    assert {"iou-by-depth", "sparsity-by-layer"} <= names
    figures = {path.stem for path in (into / "figures").glob("*.svg")}
    assert {
        "iou-heatmaps",
        "iou-by-depth",
        f"sparsity-{NS}",
        "gain-by-k",
        "gain-by-k-nll",
    } <= figures
    record = json.loads((into / "reproduction.json").read_text())
    assert record["seeds"] == [1, 2]
    assert len(record["runs"]) == 3 * 2 + 6 * 2
    run = record["runs"][f"as it is, {NS}, seed 2"]
    assert f"{run['run']}, commit {run['commit']}" in page


def test_every_number_is_of_its_own_seed_method_and_condition(runs, finished_run):
    words, plan, _ = runs
    main(["reproduce", *words, "collect=true"])
    tables = output_folder(configured(*words)) / "tables"
    base = base_scores(finished_run)
    gain = base[NS] - base[CONTROL]
    of_table = {row["System"]: row for row in read(tables / "table2.csv")}
    for system, own in ((DENSE, base[DENSE]), (CONTROL, base[CONTROL]), (NS, base[NS])):
        values = [own + above("", system, seed) for seed in (1, 2)]
        expected = f"{fmean(values):.2f} ± {stdev(values):.2f}"
        assert of_table[LABELS[system]]["All Avg"] == expected
    for row in read(tables / "k.csv"):
        name = row["Condition"]
        over = OF_METHOD[NS] + OF_CONDITION[name] / 100 + 0.15
        assert row["gain All"].startswith(f"{gain + over:+.2f} [")
        assert row["control BLEU"].startswith(f"{base[CONTROL] + above(name, CONTROL, 1.5):.2f} ")
    claims = {
        row["Difference of"]: row
        for row in read(tables / "claims.csv")
        if (row["Metric"], row["Directions"]) == ("BLEU", "All")
    }
    over_random = claims[f"{LABELS[NS]} − {LABELS['random']}"]
    # The copy of the same run, but for what was added.
    assert over_random["Difference"] == "+1.00"
    found = gather(plan)
    assert {seed: round(v, 6) for seed, v in _above_random(found).items()} == {1: 1.0, 2: 1.0}
    assert found.results["k-80"].tested(NS, CONTROL, "bleu", _directions(found)).sentences


def test_a_condition_alone_has_a_page_of_its_own(runs, finished_run):
    place = runs[2]
    words = ("k", "scale=smoke", "conditions=[k-80,k-98]", f"paths.runs={place}")
    main(["reproduce", *words, "collect=true"])
    into = output_folder(configured(*words))
    rows = read(into / "tables" / "k.csv")
    assert [row["Condition"] for row in rows] == ["k-80", "k-98"]
    base = base_scores(finished_run)
    assert rows[0]["control BLEU"].startswith(f"{base[CONTROL] + above('k-80', CONTROL, 1.5):.2f} ")
    assert (into / "figures" / "gain-by-k.svg").is_file()
    record = json.loads((into / "reproduction.json").read_text())
    assert {name.partition(",")[0] for name in record["runs"]} == {"as it is", "k-80", "k-98"}


def test_where_no_base_run_is_needed_none_is_looked_for(finished_run, tmp_path):
    place = f"paths.runs={tmp_path}/runs"
    words = ("study", "scale=smoke", "conditions=[narrow-24]", f"methods=[{NS}]", place)
    plan = planned(*words)
    (narrow,) = (each for each in plan.conditions if each.name)
    for seed in plan.seeds:
        for method in (CONTROL, NS):
            shutil.copytree(finished_run, plan.folder(narrow, method, seed))
    main(["reproduce", *words, "collect=true"])
    tables = output_folder(configured(*words)) / "tables"
    (row,) = read(tables / "study.csv")
    base = base_scores(finished_run)
    assert (row["Condition"], row["Seeds"]) == ("narrow-24", "2")
    assert row["control BLEU"] == f"{base[CONTROL]:.2f} ± 0.00"
    assert "as it is" not in (tables / "study.md").read_text()


def test_tables_of_the_condition_as_it_is_are_not_made_where_others_are_asked_for(runs):
    place = f"paths.runs={runs[2]}"
    for asked, lacking in (("k-80", "table2"), ("as it is", "k")):
        words = ("paper", "scale=smoke", f"conditions=[{asked}]", place)
        main(["reproduce", *words, "collect=true"])
        names = {path.stem for path in (output_folder(configured(*words)) / "tables").iterdir()}
        assert {"table2", "k"} - names == {lacking}


def _directions(found):
    return found.results[""].directions


def _above_random(found):
    return found.results[""].differences(NS, "random", "bleu", _directions(found))


def test_updates_and_parameters_are_those_of_the_checkpoints(runs):
    _, plan, _ = runs
    result = gather(plan).results[""]
    described = plan.folder(plan.plain, NS, 1) / NS / "checkpoint" / "model.json"
    updates = json.loads(described.read_text())["history"]["updates"]
    assert updates > 0
    assert result.updates(NS) == result.updates(CONTROL) == [updates]
    assert result.added(NS) == 0.0


def test_the_training_text_of_a_language_is_that_of_its_pair_with_the_pivot(runs):
    _, plan, _ = runs
    found = gather(plan)
    pairs = found.record["preparation"]
    sizes = {pair.removeprefix("en-"): of["train"] for pair, of in pairs.items()}
    assert found.training_pairs("en") == sizes
    assert found.training_pairs("de") == {"en": pairs["en-de"]["train"]}


def test_another_page_of_the_same_name_leaves_nothing_behind(runs):
    words, _, _ = runs
    main(["reproduce", *words, "collect=true"])
    into = output_folder(configured(*words))
    (into / "tables" / "stale.csv").write_text("of an earlier page")
    (into / "figures" / "stale.svg").write_text("of an earlier page")
    main(["reproduce", *words, "collect=true"])
    assert not list(into.glob("*/stale.*"))
    assert (into / "tables" / "table2.csv").is_file()


def test_the_model_is_that_of_the_plain_condition(runs):
    _, plan, _ = runs
    assert gather(plan).config.selection.k == plan.config(plan.plain, NS, 1).selection.k


def test_comet_of_a_run_stands_beside_its_other_scores(runs):
    _, plan, _ = runs
    folder = plan.folder(plan.plain, NS, 1)
    place = folder / "evaluations" / "comet-0" / "results"
    place.mkdir(parents=True)
    shutil.copy(folder / "record.json", place.parent)
    for path in (folder / "results").glob("*.json"):
        plain = json.loads(path.read_text())
        for system in plain["systems"]:
            system["signatures"]["comet"] = "model"
            for scores in system["scores"].values():
                scores["comet"] = 0.75
        (place / path.name).write_text(json.dumps(plain))
    result = gather(plan).results[""]
    assert result.scores(NS, "comet", result.directions) == {1: 0.75}
    assert "comet" not in result.metrics
    record = json.loads((folder / "record.json").read_text())
    (place.parent / "record.json").write_text(json.dumps(record | {"data_fingerprint": "other"}))
    assert any("is of other text than" in line for line in gather(plan).results[""].missing())


def test_costs_are_read_from_checkpoints_and_times(runs):
    _, plan, _ = runs
    costs = {cost.method: cost for cost in gather(plan).costs()}
    assert costs[NS].parameters == 0
    # Beside it, what the same training needs without masks.
    control = costs[CONTROL]
    assert next(iter(costs)) == CONTROL
    assert (control.parameters, control.mask_bytes, control.seconds) == (0, None, None)
    folder = plan.folder(plan.plain, NS, 1)
    atlas = folder / NS / "checkpoint" / "atlas.safetensors"
    assert costs[NS].mask_bytes == atlas.stat().st_size
    seconds = json.loads((folder / "timings.json").read_text())["seconds"]
    assert costs[NS].seconds == seconds["identification"]
    assert 0 < masked_share(NeuronAtlas.load(atlas)) < 1


def test_a_run_that_took_identification_over_shows_the_time_of_the_base_run(runs):
    _, plan, _ = runs
    for seed, spent in ((1, 3.0), (2, 5.0)):
        (plan.folder(plan.plain, NS, seed) / "timings.json").unlink()
        text = json.dumps({"schema": 1, "seconds": {"identification": spent}})
        (plan.base(seed) / "timings.json").write_text(text)
    costs = {cost.method: cost for cost in gather(plan).costs()}
    assert costs[NS].seconds == 4.0
    (plan.folder(plan.plain, NS, 1) / "timings.json").write_text(
        json.dumps({"schema": 1, "seconds": {f"{NS}/de-en": 6.0, f"{NS}/en-de": 1.0}})
    )
    assert {cost.method: cost for cost in gather(plan).costs()}[NS].seconds == 6.0
    # Without masks, parts are training: bilingual models find nothing.
    for seed in (1, 2):
        (plan.folder(plan.plain, NS, seed) / NS / "checkpoint" / "atlas.safetensors").unlink()
    assert {cost.method: cost for cost in gather(plan).costs()}[NS].seconds is None


def test_a_failed_row_is_missing_with_its_reason_and_the_rest_is_there(runs, capsys):
    words, plan, _ = runs
    failed = plan.folder(plan.plain, "random", 2)
    record = json.loads((failed / "record.json").read_text())
    del record["finished"]
    (failed / "record.json").write_text(json.dumps(record))
    (failed / "failure.json").write_text(json.dumps({"reason": "killed by SIGKILL"}))
    shutil.rmtree(plan.folder(plan.plain, "random", 1))
    main(["reproduce", *words, "collect=true"])
    out = " ".join(capsys.readouterr().out.split())
    assert "missing: random neurons, seed 2: failed: killed by SIGKILL" in out
    assert "missing: random neurons, seed 1: was not begun" in out
    table = (output_folder(configured(*words)) / "tables" / "table2.md").read_text()
    assert "missing: random neurons, seed 2: failed: killed by SIGKILL" in table
    assert "| random neurons | – | 0 | – |" in table


def test_nothing_to_collect_and_mixed_text_are_errors(runs, tmp_path):
    words, plan, _ = runs
    config = configured(*words)
    path = plan.folder(plan.plain, NS, 1) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_fingerprint": "other"}))
    with pytest.raises(DataError, match="other text"):
        gather(plan_of(config))
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "table2", "scale=smoke", f"paths.runs={tmp_path}/no", "collect=true"])
    assert end.value.code == 2
