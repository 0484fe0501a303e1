"""Runs on a corpus that `data.prepared` names."""

import re
import shutil

import pytest

from nsmt.commands.config import recorded_config
from nsmt.commands.fit import recorded_corpus
from nsmt.commands.launch import prepared_corpus
from nsmt.commands.prepare import prepare_corpus
from nsmt.commands.train import show_check, train
from nsmt.errors import DataError
from nsmt.records import read_record


@pytest.fixture
def elsewhere(run_corpus, tmp_path):
    return shutil.copytree(run_corpus, tmp_path / "elsewhere")


def test_a_run_on_it_is_the_run_on_what_is_prepared_here(
    finished_run, small_config, elsewhere, tmp_path
):
    config = small_config(
        f"data.prepared={elsewhere}",
        f"paths.runs={finished_run.parent}",
        f"paths.corpora={tmp_path}/corpora",
    )
    assert config.folder == finished_run
    # Finished on the same text, so nothing is trained again; and nothing is prepared.
    before = (finished_run / "record.json").read_bytes()
    assert train(config) == finished_run / "report" / "report.html"
    assert (finished_run / "record.json").read_bytes() == before
    assert not (tmp_path / "corpora").exists()


def test_commands_open_it(small_config, elsewhere, capsys):
    config = small_config(f"data.prepared={elsewhere}")
    assert prepared_corpus(config).folder == elsewhere
    prepare_corpus(config)
    assert f"corpus: {elsewhere}" in capsys.readouterr().out


def test_a_check_looks_for_it_and_for_no_input(small_config, elsewhere, monkeypatch, capsys):
    monkeypatch.setattr("nsmt.commands.train.make_source", pytest.fail)
    config = small_config(f"data.prepared={elsewhere}")
    show_check(config)
    # Learned or given, a vocabulary has the size that the settings say.
    assert prepared_corpus(config).vocabulary.size == config.data.vocabulary.size
    assert f"vocabulary {config.data.vocabulary.size:,}" in capsys.readouterr().out


def test_a_check_tells_that_it_is_not_there(small_config, tmp_path):
    with pytest.raises(DataError, match=r"data\.prepared"):
        show_check(small_config(f"data.prepared={tmp_path}/nowhere"))


def test_what_a_recorded_run_was_given_is_found_again_or_told(finished_run, elsewhere):
    record = read_record(finished_run)
    run = recorded_config(finished_run, record)
    data = run.data.model_copy(update={"prepared": str(elsewhere)})
    given = run.model_copy(update={"data": data})
    corpus = recorded_corpus(finished_run, record, given, progress=False)
    assert corpus.folder == elsewhere
    shutil.rmtree(elsewhere)
    said = f"copy the whole corpus to {re.escape(str(elsewhere))}"
    with pytest.raises(DataError, match=said):
        recorded_corpus(finished_run, record, given, progress=False)
