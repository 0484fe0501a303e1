"""The user's mistakes are answered by name, with the fix, before anything is written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import SMALL

from nsmt.commands.config import recorded_config
from nsmt.commands.launch import prepared_corpus
from nsmt.commands.notes import RankError, telling, told
from nsmt.errors import DataError
from nsmt.records import read_record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nsmt(tmp_path, corpora, monkeypatch, capsys):
    """Run a command in this process as the console script would; status and standard error."""
    from nsmt.cli import main

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["nsmt", *words])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


@pytest.fixture
def small(tmp_path):
    paths = [f"paths.runs={tmp_path}/runs", f"paths.corpora={tmp_path}/corpora"]
    synthetic = ("data=", "data.sentences=")
    return [word for word in SMALL if not word.startswith(synthetic)] + paths


def refused(outcome, *parts):
    """Status 2, one message, a fix, no traceback."""
    status, error = outcome
    assert status == 2, error
    assert "\nerror: " in f"\n{error}"
    assert "\n  fix: " in error
    assert "Traceback" not in error
    for part in parts:
        assert part in error


def nothing_written(tmp_path):
    corpora = tmp_path / "corpora"
    assert not (tmp_path / "runs").exists()
    assert not corpora.exists() or [p.name for p in corpora.iterdir()] in ([], [".lock"])


def write(folder, name, lines):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def files(folder, pair="en-de"):
    return ["data=files", f"data.root={folder}", f"data.pairs=[{pair}]"]


def test_a_missing_file_is_named(nsmt, small, tmp_path):
    (tmp_path / "text").mkdir()
    write(tmp_path / "text", "train.en-de.en", ["one"])
    refused(nsmt("train", *small, *files(tmp_path / "text")), "en-de", "one side only")
    nothing_written(tmp_path)


def test_unequal_files_are_refused_with_the_line_number(nsmt, small, tmp_path):
    write(tmp_path / "text", "train.en-de.en", ["one", "two", "three"])
    write(tmp_path / "text", "train.en-de.de", ["eins", "zwei"])
    refused(nsmt("train", *small, *files(tmp_path / "text")), "line 3")
    nothing_written(tmp_path)


def test_a_corpus_that_is_empty_after_cleaning_is_refused(nsmt, small, tmp_path):
    for language in ("en", "de"):
        write(tmp_path / "text", f"train.en-de.{language}", ["same"] * 50)
    refused(nsmt("train", *small, *files(tmp_path / "text")), "en-de", "cop")
    nothing_written(tmp_path)


def test_a_direction_without_held_out_text_is_named(nsmt, small, tmp_path):
    lines = [f"word{number} other{number % 7} third{number % 5}" for number in range(40)]
    write(tmp_path / "text", "train.en-de.en", lines)
    write(tmp_path / "text", "train.en-de.de", [line.upper() for line in lines])
    words = ("data.split.valid=0", "data.vocabulary.size=60")
    refused(nsmt("train", *small, *files(tmp_path / "text"), *words), "en-de has no valid text")
    assert not list(tmp_path.glob("runs/*/dense"))


@pytest.mark.parametrize("code", ["xx", "enn-", "../etc", "de/x", "DE"])
def test_an_unknown_or_malformed_language_code_is_named(nsmt, small, tmp_path, code):
    refused(nsmt("train", *small, *files(tmp_path, f"'en-{code}'")), code.split("-")[0])
    nothing_written(tmp_path)


@pytest.mark.parametrize("k", ["-1", "100.5", "many"])
def test_k_out_of_range_is_refused(nsmt, small, tmp_path, k):
    refused(nsmt("train", *small, "data=synthetic", f"selection.k={k}"), "selection.k", k)
    nothing_written(tmp_path)


def test_several_faults_are_answered_at_once_with_suggestions(nsmt, small):
    outcome = nsmt("train", *small, "modle=tiny", "selection.kk=3", "trainer=cpuu")
    refused(outcome, "3 faults", "did you mean 'model'", "selection.k", "did you mean 'cpu'")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "experiment=study/narrow_96",
            "study/narrow_96 is a layer on another experiment, and there is none; give one before "
            "it: 'experiment=[bible8/base,study/narrow_96]'",
        ),
        ("experiment=[study/narrow_96,study/linear_decay]", "[bible8/base,study/narrow_96,"),
        ("experiment=bible4/lass", "experiment=bible4/base method=lass is that row"),
        ("experiment=bible8/lasso", "did you mean 'bible8/lass'"),
        ("experiment=study/lass", "1 fault:\n  - experiment=study/lass is not there"),
    ],
)
def test_experiments_that_are_no_whole_ones_are_answered_with_the_words_to_write(nsmt, word, said):
    refused(nsmt("train", word, "--check"), said)


def test_each_choice_of_a_sweep_needs_an_experiment_below_its_layer(nsmt, tmp_path):
    words = ("experiment=study/narrow_96,bible8/base", f"paths.runs={tmp_path}")
    refused(nsmt("train", "-m", *words), "is a layer on another experiment")
    nothing_written(tmp_path)


def test_a_mistyped_value_names_its_key(nsmt, small):
    outcome = nsmt("train", *small, "data=synthetic", "model.d_ff=wide", "seed=-1")
    refused(outcome, "2 faults", 'model.d_ff="wide"', "seed=-1")


def test_groups_that_do_not_fit_together_are_refused(nsmt, small, tmp_path):
    words = (
        "data=synthetic",
        "data.cleaning.max_tokens=500",
        "trainer=ddp_sim",
        "batch.per_update=3",
    )
    refused(nsmt("train", *small, *words), "max_positions", "shared by 2 ranks")
    nothing_written(tmp_path)


def test_a_checkpoint_that_is_not_there_is_named(nsmt, small, tmp_path):
    words = ("data=synthetic", "schedule=specialize", f"schedule.checkpoint={tmp_path}/none")
    refused(nsmt("train", *small, *words), f"{tmp_path}/none")
    nothing_written(tmp_path)


def test_a_corrupt_checkpoint_is_refused(nsmt, run_copy, run_corpus, tmp_path):
    (run_copy / "dense" / "checkpoint" / "model.json").write_text("{}", encoding="utf-8")
    outcome = nsmt(
        "identify",
        f"checkpoint={run_copy}/dense/checkpoint",
        f"corpus={run_corpus}",
        f"output={tmp_path}/found",
    )
    refused(outcome, "model.json", "corrupt")
    assert not (tmp_path / "found").exists()


def test_a_key_of_another_choice_is_not_suggested_to_itself(nsmt):
    outcome = nsmt("train", "--check", "data=bible8", "data.root=x")
    refused(outcome, "'data.root' does not belong to the choice made for 'data'")


def test_identify_is_refused_for_several_ranks(nsmt, finished_run, tmp_path):
    words = (f"checkpoint={finished_run}/dense/checkpoint", f"corpus={tmp_path}")
    refused(nsmt("identify", *words, "trainer=ddp_sim"), "one rank")


def test_a_checkpoint_is_not_scored_on_pieces_of_another_vocabulary(
    nsmt, finished_run, small_config
):
    corpus = prepared_corpus(small_config("data.vocabulary.size=110"))
    words = (f"checkpoint={finished_run}/dense/checkpoint", f"corpus={corpus.folder}")
    refused(nsmt("evaluate", "eval=checkpoint", *words), "vocabulary")


def test_a_checkpoint_of_another_shape_names_the_keys(nsmt, finished_run, small, corpora):
    words = ["data=synthetic", "data.sentences=400", "schedule=specialize", "model.d_ff=56"]
    words += [f"schedule.checkpoint={finished_run}/dense/checkpoint", f"paths.corpora={corpora}"]
    refused(nsmt("train", *small, *words), "d_ff=48")


def test_a_folder_without_published_outputs_is_refused(nsmt, tmp_path):
    refused(nsmt("evaluate", "eval=paper_ec30", f"outputs={tmp_path}"), "no published outputs")
    refused(nsmt("evaluate", "eval=paper_ec30"), "outputs is not given")


def test_a_run_that_is_not_finished_has_no_report(nsmt, tmp_path):
    refused(nsmt("report", f"run={tmp_path}"), "no finished run")


@pytest.mark.parametrize("text", ["{ cut", "[]", "{}", '{"config": {}, "stages": []}'])
def test_a_damaged_certificate_is_named(nsmt, run_copy, text):
    (run_copy / "record.json").write_text(text, encoding="utf-8")
    refused(nsmt("report", f"run={run_copy}"), "record.json is damaged")


def test_a_run_of_another_version_is_named(nsmt, run_copy):
    path = run_copy / "record.json"
    record = json.loads(path.read_text())
    record["config"]["model"]["an_older_key"] = 1
    path.write_text(json.dumps(record | {"nsmt": "0.0.9", "commit": "abc"}))
    for command in ("report", "evaluate"):
        refused(nsmt(command, f"run={run_copy}"), "nsmt 0.0.9", "an_older_key", "abc")


def test_published_text_that_is_not_utf8_is_named(nsmt, tmp_path):
    place = tmp_path / "en-de"
    place.mkdir()
    (place / "ref.txt").write_bytes(b"gut\n")
    (place / "hyp.mT-big.txt").write_bytes(b"gr\xfcn\n")
    outcome = nsmt("evaluate", "eval=paper_ec30", f"outputs={tmp_path}")
    refused(outcome, "hyp.mT-big.txt, line 1", "byte 3")


def test_an_extra_that_is_not_installed_is_named_before_the_run(nsmt, small, tmp_path, monkeypatch):
    monkeypatch.setattr("nsmt.training.tracking.find_spec", lambda name: None)
    refused(nsmt("train", *small, "data=synthetic", "logger=tensorboard"), "nsmt[tensorboard]")
    nothing_written(tmp_path)


def test_a_check_looks_for_the_input(nsmt, small, tmp_path):
    refused(nsmt("train", "--check", *small, *files(tmp_path)), "no training text")
    bible = ("data=bible8", "model.max_positions=128")
    refused(nsmt("train", "--check", *small, *bible, "data.pairs=[en-sv]"), "no text in sv")


def test_several_nodes_without_a_launcher_are_refused_at_once(nsmt, small, tmp_path):
    words = ("data=synthetic", "trainer=ddp_sim", "trainer.num_nodes=2", "batch.per_update=4")
    refused(nsmt("train", *small, *words), "launcher on every node")
    assert nsmt("train", "--check", *small, *words)[0] == 0
    nothing_written(tmp_path)


def test_starting_again_under_a_launcher_is_refused(nsmt, small, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    words = ("data=synthetic", "trainer=ddp_sim", "resume=never")
    refused(nsmt("train", *small, *words), "resume=never")
    nothing_written(tmp_path)


def test_other_ranks_hear_that_the_first_failed(small_config, tmp_path, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "TORCHELASTIC_RUN_ID": "one"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "text").mkdir()
    for language in ("en", "de"):
        write(tmp_path / "text", f"train.en-de.{language}", ["same"] * 50)
    words = [*files(tmp_path / "text"), f"paths.corpora={tmp_path}/corpora", "trainer=ddp_sim"]
    config = small_config(*words, without=("data=", "data.sentences="))
    with pytest.raises(DataError, match="no training text"), telling(config) as tell:
        tell(prepared_corpus(config))
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(RankError, match="rank 0"):
        told(config, patience_s=60)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    with pytest.raises(RankError, match="no corpus in time"):
        told(config, patience_s=0.1)


def test_a_corpus_without_held_out_text_is_refused(small_config, tmp_path):
    lines = [f"word{number} other{number % 7} third{number % 5}" for number in range(40)]
    write(tmp_path / "text", "train.en-de.en", lines)
    write(tmp_path / "text", "train.en-de.de", [line.upper() for line in lines])
    words = [*files(tmp_path / "text"), f"paths.corpora={tmp_path}/corpora"]
    words += ["data.split.valid=0", "data.vocabulary.size=60", "trainer=ddp_sim"]
    small = ("data=", "data.sentences=", "data.vocabulary")
    config = small_config(*words, without=small)
    with pytest.raises(DataError, match="no valid text"):
        prepared_corpus(config)


def test_a_given_test_sentence_longer_than_the_model_is_told_before_training(nsmt, small, tmp_path):
    text = tmp_path / "text"
    lines = [f"word{number} other{number % 7} third{number % 5}" for number in range(80)]
    for split, chosen in {"train": lines, "valid": lines[:3], "test": [" ".join(lines)]}.items():
        write(text, f"{split}.en-de.en", chosen)
        write(text, f"{split}.en-de.de", [line.upper() for line in chosen])
    words = [word for word in small if not word.startswith("data.vocabulary")]
    outcome = nsmt("train", *words, *files(text), "data.vocabulary.size=80")
    refused(outcome, "longest sentence of valid and test", "model.max_positions=")
    assert not list(tmp_path.glob("runs/*/dense"))


def test_a_model_is_not_given_sentences_that_it_has_no_room_for(nsmt, finished_run, tmp_path):
    config = recorded_config(finished_run, read_record(finished_run))
    corpus = prepared_corpus(config)
    long = " ".join(["word"] * 80)
    for split in ("valid", "test"):
        write(tmp_path / "text", f"{split}.en-de.en", [long])
        write(tmp_path / "text", f"{split}.en-de.de", [long])
    write(tmp_path / "text", "train.en-de.en", ["a sentence of words", "another one of words"])
    write(tmp_path / "text", "train.en-de.de", ["ein Satz aus Worten", "noch einer aus Worten"])
    corpus.vocabulary.save(tmp_path / "vocabulary.model")
    words = ["data=files", f"data.root={tmp_path}/text", "data.pairs=[en-de]"]
    words += [f"data.vocabulary.model={tmp_path}/vocabulary.model", f"paths.corpora={tmp_path}/c"]
    assert nsmt("prepare", *words)[0] == 0
    (folder,) = (path for path in (tmp_path / "c").iterdir() if path.is_dir())
    given = (f"checkpoint={finished_run}/dense/checkpoint", f"corpus={folder}")
    refused(nsmt("identify", *given, f"output={tmp_path}/found"), "longest sentence of valid")
    refused(nsmt("evaluate", "eval=checkpoint", *given), "longest sentence of test")


def test_the_results_of_a_run_are_not_written_over(nsmt, run_copy):
    refused(nsmt("evaluate", f"run={run_copy}", f"output={run_copy}"), "folder of a run")


def test_a_run_that_lost_its_results_is_named(nsmt, run_copy):
    shutil.rmtree(run_copy / "results")
    refused(nsmt("report", f"run={run_copy}"), "lost its results", "evaluate.py run=")


def test_a_benchmark_is_refused_for_several_ranks(nsmt):
    refused(nsmt("bench", "trainer=ddp_sim"), "one rank")


@pytest.mark.parametrize("words", [(), ("--cfg", "job")])
def test_a_group_without_a_choice_is_answered_with_the_choices(nsmt, words):
    refused(nsmt("reproduce", *words), "specify 'scale'", "choose one of bible4, bible8, ec30")


def test_a_group_of_another_command_is_told_with_where_it_belongs(nsmt):
    refused(nsmt("train", "--check", "scale=bible8"), "'scale'", "conf/reproduce.yaml")


def test_several_values_without_a_sweep_are_answered_with_both_ways_to_write_them(nsmt):
    outcome = nsmt("train", "--check", "selection.k=80,90", "seed=range(1,3)")
    refused(outcome, "selection.k=80,90, seed=range(1,3): several values", "add -m", "key=[a,b]")
    refused(nsmt("reproduce", "table2", "scale=bible4,bible8"), "scale=bible4,bible8", "one value")


def test_an_unknown_command_lists_those_there_are(nsmt):
    status, error = nsmt("trian")
    assert status == 2
    assert "unknown command 'trian'" in error
    assert "identify" in error


@pytest.mark.slow
def test_the_entry_point_ends_with_status_2_and_no_traceback():
    done = subprocess.run(
        [sys.executable, "train.py", "experiment=quikstart"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    refused((done.returncode, done.stderr), "did you mean 'quickstart'")
