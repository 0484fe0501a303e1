"""`prepare` and `data stats` as they are typed."""

import shutil
import sys
from pathlib import Path

import pytest
from small_run import SMALL

from nsmt.cli import main


def nsmt(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["nsmt", *words])
    main()


def test_prepare_shows_its_table_once_whether_fresh_or_not(tmp_path, monkeypatch, capsys):
    words = [word for word in SMALL if word.startswith("data")]
    for licences in (True, False):
        nsmt(monkeypatch, "prepare", *words, f"paths.corpora={tmp_path}")
        shown = capsys.readouterr()
        assert shown.out.count("corpus synthetic") == 1
        assert "corpus synthetic" not in shown.err
        assert ("public domain" in shown.err) == licences


def test_stats_refuse_a_damaged_corpus_unless_told_not_to_look(
    run_corpus, tmp_path, monkeypatch, capsys
):
    corpus = Path(shutil.copytree(run_corpus, tmp_path / "corpus"))
    shard = corpus / "train.en-de.de.ids.npy"
    content = bytearray(shard.read_bytes())
    # Another piece, which is there: nothing but the checksum can tell.
    content[-2] ^= 1
    shard.write_bytes(content)
    words = ("data", "stats", f"corpus={corpus}", "batch_tokens=[512]", "progress=false")
    with pytest.raises(SystemExit, match="2"):
        nsmt(monkeypatch, *words)
    shown = capsys.readouterr()
    assert f"{shard.name} was changed" in " ".join(shown.err.split())
    assert not shown.out
    nsmt(monkeypatch, *words, "verify=false")
    assert "Slots filled" in capsys.readouterr().out
