"""Claims about whole runs: what they leave behind, and that what is shown is what was measured."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_run import SMALL

from nsmt.cli import main
from nsmt.commands.compose import composed, conf_folder
from nsmt.commands.config import RunConfig, recorded_config
from nsmt.commands.train import train
from nsmt.errors import DataError
from nsmt.evaluation.results import Comparison
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.records import read_record

ROOT = Path(__file__).parents[2]
STAGES = ["dense", "continue_dense", "neuron_specialization"]


def nsmt(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["nsmt", *words])
    main()


def test_a_run_is_a_record(finished_run):
    record = json.loads((finished_run / "record.json").read_text())
    assert record["seed"] == 1
    assert record["stages"] == STAGES
    assert record["config"]["selection"]["k"] == 95.0
    assert record["packages"]["torch"] == torch.__version__
    assert len(record["data_fingerprint"]) == 64
    assert yaml.safe_load((finished_run / "config.yaml").read_text()) == record["config"]
    for stage in STAGES:
        names = {path.name for path in (finished_run / stage / "checkpoint").iterdir()}
        assert {"model.safetensors", "model.json", "manifest.json", "vocabulary.model"} <= names
        assert (finished_run / stage / "metrics.csv").is_file()


def test_a_record_that_calls_its_logger_as_before_is_read(finished_run):
    record = read_record(finished_run)
    record["config"]["logger"]["kind"] = "none"
    assert recorded_config(finished_run, record).logger.kind == "csv"


def test_nothing_in_a_run_is_executable(finished_run):
    suffixes = {path.suffix for path in finished_run.rglob("*") if path.is_file()}
    assert suffixes <= {
        *(".json", ".yaml", ".safetensors", ".model", ".csv", ".tsv", ".txt"),
        *(".md", ".tex", ".html", ".png", ".svg"),
    }


def test_the_table_has_the_control_beside_the_specialised_model(finished_run):
    with (finished_run / "report" / "tables" / "main.csv").open() as file:
        rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    labels = [row[0] for row in rows]
    place = labels.index("dense")
    assert labels[place : place + 3] == ["dense", "continue-dense", "neuron specialisation"]


def test_the_comparison_can_be_had_again_from_the_translations(finished_run):
    from nsmt.evaluation.scoring import score

    text = (finished_run / "results" / "against-continue_dense.json").read_text()
    comparison = Comparison.from_json(text)
    for system in comparison.systems:
        for direction, scores in system.scores.items():
            place = finished_run / "translations" / str(direction)
            lines = [
                (place / f"{name}.txt").read_text().splitlines()
                for name in (f"hyp.{system.name}", "ref")
            ]
            found = score(*lines)
            assert {key: value.value for key, value in found.items()} == pytest.approx(
                {key: scores[key] for key in found}
            )


def test_the_same_sentences_are_drawn_in_all_directions(finished_run):
    text = (finished_run / "results" / "against-continue_dense.json").read_text()
    assert Comparison.from_json(text).together


def test_the_report_is_one_page_with_every_part(finished_run):
    page = (finished_run / "report" / "report.html").read_text()
    for part in ("continue-dense", "Overlap by layer", "Sparsity", "Training", "fingerprint"):
        assert part in page
    assert "<svg" in page
    assert "http-equiv" not in page
    assert not [word for word in ('src="http', 'href="http') if word in page]
    for name in ("iou-heatmaps", "iou-by-depth", "training-curves"):
        for suffix in (".png", ".svg"):
            assert (finished_run / "report" / "figures" / f"{name}{suffix}").stat().st_size > 1000


def test_the_same_command_again_finds_the_finished_run(finished_run, capsys):
    record = json.loads((finished_run / "record.json").read_text())
    config = RunConfig.model_validate_json(json.dumps(record["config"]))
    before = (finished_run / "record.json").stat().st_mtime_ns
    assert train(config) == finished_run / "report" / "report.html"
    assert "is finished" in capsys.readouterr().out
    assert (finished_run / "record.json").stat().st_mtime_ns == before


def test_a_resumed_run_keeps_what_made_its_first_stages(small_config):
    config = small_config("schedule=dense", "schedule.dense.updates=4")
    train(config)
    path = config.folder / "record.json"
    record = json.loads(path.read_text())
    del record["finished"]
    path.write_text(json.dumps(record | {"commit": "an earlier one"}))
    written = (config.folder / "dense" / "checkpoint" / "manifest.json").stat().st_mtime_ns
    train(config)
    assert (config.folder / "dense" / "checkpoint" / "manifest.json").stat().st_mtime_ns == written
    assert json.loads(path.read_text())["resumed"][0]["commit"] == "an earlier one"
    assert "an earlier one" in (config.folder / "report" / "report.html").read_text()


def test_a_run_of_other_text_is_refused_and_keeps_its_certificate(run_copy, corpora):
    path = run_copy / "record.json"
    record = json.loads(path.read_text())
    record["config"]["paths"] |= {"runs": str(run_copy.parent), "corpora": str(corpora)}
    config = RunConfig.model_validate_json(json.dumps(record["config"]))
    assert config.folder == run_copy
    path.write_text(json.dumps(record | {"data_fingerprint": "other"}))
    before = path.read_bytes()
    with pytest.raises(DataError, match="other text"):
        train(config)
    assert path.read_bytes() == before


def test_identify_finds_the_atlas_of_the_run(finished_run, run_corpus, tmp_path, monkeypatch):
    nsmt(
        monkeypatch,
        "identify",
        f"checkpoint={finished_run}/dense/checkpoint",
        f"corpus={run_corpus}",
        f"output={tmp_path}/found",
    )
    found = NeuronAtlas.load(tmp_path / "found" / "atlas.safetensors")
    place = finished_run / "neuron_specialization" / "checkpoint" / "atlas.safetensors"
    assert found == NeuronAtlas.load(place)


def test_the_corpus_is_shown_in_numbers_and_on_a_page(run_corpus, tmp_path, monkeypatch, capsys):
    words = (f"corpus={run_corpus}", "batch_tokens=[512]", f"output={tmp_path}/stats")
    nsmt(monkeypatch, "data", "stats", *words)
    shown = capsys.readouterr().out
    for part in ("en-de", "German", "T = 5", "Slots filled", "0 of"):
        assert part in shown
    page = (tmp_path / "stats" / "corpus.html").read_text()
    assert "<svg" in page
    assert "public domain" in page
    assert (tmp_path / "stats" / "tables" / "languages.csv").is_file()


def test_sentences_are_shown_as_the_model_reads_them(run_corpus, monkeypatch, capsys):
    nsmt(monkeypatch, "data", "sample", f"corpus={run_corpus}", "direction=de-en", "number=2")
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("de-en train") for line in lines) == 2
    source, given, target = lines[1:4]
    assert "<2de> \u2581" in source
    assert source.endswith("</s>")
    assert given.partition(": ")[2].startswith("</s> <2en>")
    assert target.partition(": ")[2].split()[:-1] == given.partition(": ")[2].split()[1:]


def test_every_choice_of_every_group_composes():
    place, pairs = "data.root=text", "data.pairs=[en-de]"
    sets = ["data.valid_set.root=sets", "data.test_set.root=sets"]
    needs = {
        "data=files": [place, pairs],
        "data=opus": [place, pairs],
        "data=ec30": [place, *sets],
        "data=iwslt14": [place],
        "data=huggingface": [place, pairs],
    }
    for split in ("valid_set", "test_set"):
        for path in (conf_folder() / split).glob("*.yaml"):
            words = [f"{split}={path.stem}", f"data.{split}.root=sets"]
            assert composed("train", ["data=files", place, pairs, *words], RunConfig)
    needs["schedule=specialize"] = ["schedule.checkpoint=folder"]
    for group in ("data", "model", "method", "schedule", "optimizer", "trainer", "logger"):
        for path in (conf_folder() / group).glob("*.yaml"):
            choice = f"{group}={path.stem}"
            assert composed("train", [choice, *needs.get(choice, [])], RunConfig)


def test_a_check_builds_no_weights_and_writes_nothing(small_config, tmp_path, capsys):
    assert train(small_config("check=true", "model=mt_big", "model.max_positions=64")) is None
    shown = capsys.readouterr().out
    assert "parameters" in shown
    assert not (tmp_path / "runs").exists()


def test_the_run_folder_does_not_depend_on_where_things_are_kept(small_config, tmp_path):
    config = small_config()
    assert small_config("logger=wandb").run_name == config.run_name
    assert small_config(f"paths.runs={tmp_path}/x").run_name == config.run_name
    assert small_config("callbacks.progress=true").run_name == config.run_name
    assert small_config("callbacks.patience=3").run_name != config.run_name
    assert small_config("data.temperature=2.0").run_name != config.run_name
    files = ["data=files", "data.pairs=[en-de]", "data.root=x"]
    elsewhere = [*files[:-1], "data.root=y"]
    small = ("data=", "data.sentences")
    assert (
        small_config(*files, without=small).run_name
        == small_config(*elsewhere, without=small).run_name
    )
    assert small_config("seed=3").run_name != config.run_name


def test_a_dense_run_has_a_report_too(small_config):
    config = small_config("schedule=dense", "schedule.dense.updates=4")
    page = train(config).read_text()
    assert "continued dense" in page or "continue-dense" in page
    assert [path.name for path in config.folder.glob("*/checkpoint")] == ["checkpoint"]


def test_every_long_step_shows_its_progress(small_config, capsys):
    words = ["schedule.dense.updates=4", "schedule.specialise.updates=4"]
    train(small_config(*words, "callbacks.progress=true"))
    shown = capsys.readouterr().err
    lines = [line.strip() for line in shown.splitlines()]
    stages = ["dense", "continue-dense", "neuron specialisation"]
    steps = [*stages, "identify neurons", *(f"translate {stage}" for stage in stages)]
    steps += [*(f"likelihood {stage}" for stage in stages), "compare"]
    # A finished bar begins with its step and shows all of the count.
    begun = {line.partition("━")[0].strip() for line in lines if "━" in line}
    assert not set(steps) - begun


@pytest.mark.slow
def test_any_language_trains_from_configuration_alone(small_config, tmp_path):
    """Scripts without spaces among them, and a language that no catalogue has."""
    rng = random.Random(0)
    alphabets = {"cs": "čěřžaei", "tr": "ğışçaou", "ja": "かなのはと", "zh": "山水火木人"}
    alphabets |= {"en": "abcdefg", "qya": "ëvanimo"}
    numbers = [[rng.randrange(5) for _ in range(rng.randint(3, 8))] for _ in range(300)]
    text = tmp_path / "text"
    text.mkdir()
    for code, letters in alphabets.items():
        space = "" if code in ("ja", "zh") else " "
        lines = [space.join(letters[n] * 2 for n in row) for row in numbers]
        for pair in [f"en-{code}"] if code != "en" else [f"en-{c}" for c in alphabets if c != "en"]:
            (text / f"train.{pair}.{code}").write_text("".join(f"{line}\n" for line in lines))
    words = ["data=files", f"data.root={text}", "data.pairs=[en-cs,en-tr,en-ja,en-zh,en-qya]"]
    words += ["data.languages.qya.name=Quenya", "data.languages.qya.family=Elvish"]
    words += ["data.split.valid=0.05", "data.split.test=0.05", "data.vocabulary.size=140"]
    words += ["schedule.dense.updates=4", "schedule.specialise.updates=4"]
    config = small_config(*words, without=("data=", "data.sentences", "data.vocabulary"))
    page = train(config).read_text()
    assert "Elvish" in page
    place = config.folder / "neuron_specialization" / "checkpoint" / "atlas.safetensors"
    assert set(NeuronAtlas.load(place).tasks) >= {"en-zh", "zh-en", "qya-en", "ja-en", "tr-en"}


def test_the_log_tells_the_story(finished_run):
    log = (finished_run / "log.txt").read_text()
    for part in ("corpus ", "dense: 30 updates begin", "identified the neurons", "finished: "):
        assert part in log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trace"), [("wandb", "wandb/*offline-run*"), ("tensorboard", "dense/**/events.*")]
)
def test_a_tracker_gets_the_run_without_a_network(small_config, monkeypatch, kind, trace):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = small_config(f"logger={kind}", "schedule=dense", "schedule.dense.updates=4")
    train(config)
    assert len(list(config.folder.glob(trace))) == 1
    assert (config.folder / "dense" / "metrics.csv").is_file()


@pytest.mark.slow
def test_a_sweep_makes_a_run_for_each_value_and_goes_on_after_a_failure(tmp_path):
    words = [*SMALL, "schedule.dense.updates=2", "schedule.specialise.updates=2"]
    paths = [f"paths.runs={tmp_path}/runs", f"paths.corpora={tmp_path}/corpora"]
    done = subprocess.run(
        [sys.executable, "train.py", "-m", *words, *paths, "selection.k=80,-1,95"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "selection.k=-1" in done.stderr
    assert "Traceback" not in done.stderr
    records = [json.loads(p.read_text()) for p in tmp_path.glob("runs/small-*/record.json")]
    assert sorted(record["config"]["selection"]["k"] for record in records) == [80.0, 95.0]
    assert all("finished" in record for record in records)
