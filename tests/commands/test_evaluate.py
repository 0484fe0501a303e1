"""Claims about `evaluate`: runs, checkpoints and published outputs scored again."""

import json
import sys

from nsmt.cli import main
from nsmt.evaluation.results import Comparison


def nsmt(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["nsmt", *words])
    main()


def test_evaluating_a_run_again_gives_its_scores_in_a_folder_of_its_own(run_copy, monkeypatch):
    nsmt(monkeypatch, "evaluate", f"run={run_copy}")
    (again,) = (run_copy / "evaluations").iterdir()
    for baseline in ("dense", "continue_dense"):
        name = f"results/against-{baseline}.json"
        assert json.loads((again / name).read_text()) == json.loads((run_copy / name).read_text())
    assert {path.suffix for path in (again / "tables").iterdir()} == {".csv", ".md", ".tex"}


def test_another_search_leaves_the_run_alone_and_keeps_its_other_settings(run_copy, monkeypatch):
    files = [path for path in run_copy.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    output = run_copy.parent / "beam"
    nsmt(monkeypatch, "evaluate", f"run={run_copy}", "decoding.beam=2", f"output={output}")
    assert {path: path.read_bytes() for path in files} == before
    record = json.loads((output / "record.json").read_text())
    run = json.loads((run_copy / "record.json").read_text())
    assert record["config"]["decoding"] == run["config"]["decoding"] | {"beam": 2}
    assert record["data_fingerprint"] == run["data_fingerprint"]
    assert record["run"]["commit"] == run["commit"]
    assert record["scores"].keys() == {"dense", "continue_dense", "neuron_specialization"}
    assert (output / "translations" / "en-de" / "hyp.dense.txt").is_file()


def test_evaluating_a_checkpoint_gives_the_scores_of_the_run(
    finished_run, run_corpus, tmp_path, monkeypatch, capsys
):
    nsmt(
        monkeypatch,
        "evaluate",
        "eval=checkpoint",
        f"checkpoint={finished_run}/dense/checkpoint",
        f"corpus={run_corpus}",
        "decoding=greedy",
        "decoding.max_length_extra=20",
        f"output={tmp_path}/scored",
    )
    shown = capsys.readouterr().out
    assert "en-de" in shown
    assert "chrf++" in shown.lower()
    record = json.loads((tmp_path / "scored" / "record.json").read_text())
    run = Comparison.from_json((finished_run / "results" / "against-dense.json").read_text())
    measured = {str(d): dict(found) for d, found in run.system("dense").scores.items()}
    assert record["scores"]["checkpoint"] == measured
    assert "en-de" in (tmp_path / "scored" / "tables" / "scores.csv").read_text()


def test_published_outputs_get_tables_and_intervals(tmp_path, monkeypatch, capsys):
    lines = [f"the number {number} is here ." for number in range(40)]
    for direction in ("en-de", "de-en"):
        for name, wrong in (("ref", 0), ("hyp.mT-big", 20), ("hyp.mT-big-NS", 5)):
            text = ["nothing like it at all"] * wrong + lines[wrong:]
            path = tmp_path / "published" / direction / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for line in text))
    nsmt(
        monkeypatch,
        "evaluate",
        "eval=paper_ec30",
        f"outputs={tmp_path}/published",
        f"output={tmp_path}/scored",
        "test.bootstrap_samples=100",
    )
    assert "58 of 60 directions are missing" in " ".join(capsys.readouterr().out.split())
    text = (tmp_path / "scored" / "results" / "against-mT-big.json").read_text()
    comparison = Comparison.from_json(text)
    gain = comparison.by_group["mT-big-NS"]["bleu"]["All"]
    assert gain.low > 0
    assert gain.significant
    assert comparison.together
    for table in ("scores", "table11", "main", "directions-bleu"):
        assert (tmp_path / "scored" / "tables" / f"{table}.tex").is_file()
    record = json.loads((tmp_path / "scored" / "record.json").read_text())
    assert record["command"]
    assert len(record["data_fingerprint"]) == 64


def test_published_outputs_are_scored_with_the_tokeniser_that_is_asked_for(tmp_path, monkeypatch):
    for name in ("ref", "hyp.mT-big", "hyp.mT-big-NS"):
        path = tmp_path / "published" / "en-de" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a line of text\n")
    words = ["eval=paper_ec30", f"outputs={tmp_path}/published", "test.bootstrap_samples=5"]
    output = tmp_path / "scored"
    nsmt(monkeypatch, "evaluate", *words, "test.tokenizer=char", f"output={output}")
    found = Comparison.from_json((output / "results" / "against-mT-big.json").read_text())
    assert "tok:char" in found.signatures["bleu"]
    assert "tok:char" in (output / "tables" / "scores.md").read_text()


def test_evaluations_that_search_differently_do_not_share_a_folder(run_copy, monkeypatch):
    # The run's own search is greedy; 5 and 200 are the values of the schema.
    for words in ([], ["decoding.beam=5"], ["decoding.max_length_extra=200"], ["decoding=greedy"]):
        nsmt(monkeypatch, "evaluate", f"run={run_copy}", "progress=false", *words)
    records = [
        json.loads((folder / "record.json").read_text())["config"]["decoding"]
        for folder in (run_copy / "evaluations").iterdir()
    ]
    found = {(record["beam"], record["max_length_extra"]) for record in records}
    assert found == {(1, 20), (5, 20), (1, 200)}
    assert len(records) == 3


def test_another_tokeniser_is_in_the_signature_of_bleu_alone(run_copy, monkeypatch):
    output = run_copy.parent / "characters"
    nsmt(monkeypatch, "evaluate", f"run={run_copy}", "test.tokenizer=char", f"output={output}")
    name = "results/against-dense.json"
    found = Comparison.from_json((output / name).read_text())
    before = Comparison.from_json((run_copy / name).read_text())
    assert "tok:char" in found.signatures["bleu"]
    assert found.signatures["chrf++"] == before.signatures["chrf++"]
    assert found.system("dense").scores != before.system("dense").scores
