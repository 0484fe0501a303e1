"""Claims about `nsmt bench`: every benchmark measures and keeps a certificate."""

import json
import shutil
import sys

import pytest
import torch
from small_run import SMALL

from nsmt.benchmarks import training
from nsmt.cli import main
from nsmt.data.corpus import Corpus


def nsmt(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["nsmt", *words])
    main()


def test_a_benchmark_keeps_its_ratios_with_a_certificate(corpora, tmp_path, monkeypatch):
    small = [word for word in SMALL if word.startswith(("data", "model", "trainer", "batch"))]
    words = [*small, "repetitions=1", f"paths.corpora={corpora}", f"output={tmp_path}/bench.json"]
    nsmt(monkeypatch, "bench", *words)
    record = json.loads((tmp_path / "bench.json").read_text())
    figures = record["figures"]
    assert figures.keys() >= {
        "forward_seconds",
        "identify_seconds",
        "identify_over_forward",
        "counted_over_bare",
    }
    assert min(figures.values()) > 0
    assert record["environment"]["threads"] >= 1
    assert record["data_fingerprint"] in {
        Corpus.open(each).fingerprint for each in corpora.glob("synthetic-*")
    }
    assert record["packages"]["transformers"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["prepare", "load"])
def test_benchmarks_of_data_measure(what, tmp_path, monkeypatch):
    small = [word for word in SMALL if word.startswith(("data", "model", "trainer", "batch"))]
    words = [*small, "pairs=3000", "data.vocabulary.size=150", "batch.tokens=2048"]
    nsmt(monkeypatch, "bench", f"what={what}", *words, f"output={tmp_path}/bench.json")
    record = json.loads((tmp_path / "bench.json").read_text())
    assert record["data_fingerprint"].startswith("synthetic-")
    figures = record["figures"]
    expected = {"prepare": "tokenise_ratio", "load": "step_over_batch"}
    assert figures[expected[what]] > 0


@pytest.mark.parametrize("what", ["prepare", "load"])
def test_benchmarks_of_a_source_refuse_a_corpus_that_has_none(what, tmp_path, monkeypatch, capsys):
    words = [word for word in SMALL if word.startswith("data")]
    with pytest.raises(SystemExit):
        nsmt(monkeypatch, "bench", f"what={what}", *words, f"data.prepared={tmp_path}")
    assert f"what={what} measures the text of a source" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "figure"),
    [("train", "m2m100_over_dense_seconds"), ("decode", "m2m100_over_ours_seconds")],
)
def test_benchmarks_against_other_toolkits_measure(what, figure, corpora, tmp_path, monkeypatch):
    small = [word for word in SMALL if word.startswith(("data", "model", "trainer", "batch"))]
    words = [*small, "model.share_embeddings=all", "repetitions=1", f"paths.corpora={corpora}"]
    decode = [
        "sentences=5",
        "updates=2",
        "peer_batches=[3]",
        "rounds=1",
        "decoding.max_length_extra=8",
    ]
    nsmt(monkeypatch, "bench", f"what={what}", *words, *decode, f"output={tmp_path}/bench.json")
    figures = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert figures[figure] > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_packed_batches_are_compiled_once_in_the_benchmark_as_on_a_gpu(
    corpora, tmp_path, monkeypatch
):
    torch.compiler.reset()
    small = [word for word in SMALL if word.startswith(("data", "model", "trainer", "batch"))]
    words = ["model.share_embeddings=all", "repetitions=3", f"paths.corpora={corpora}"]
    words += ["batch.layout=packed", "trainer.compile=true", f"output={tmp_path}/bench.json"]
    nsmt(monkeypatch, "bench", "what=train", *small, *words)
    figures = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert figures["recompilations"] == 0
    assert figures["seconds_per_token_over_half_as_large_batches"] > 0
    assert 0 < figures["masks_of_60_directions_mib"] < 1
    assert figures["masks_of_3000_directions_mib"] < 20
    assert {"dense_memory_grows_mib", "masked_memory_grows_mib"} <= figures.keys()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.slow
def test_what_was_measured_before_a_failure_is_kept(corpora, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(training, "bf16_loss", fail)
    small = [word for word in SMALL if word.startswith(("data", "model", "trainer", "batch"))]
    words = [*small, "model.share_embeddings=all", "repetitions=1", f"paths.corpora={corpora}"]
    with pytest.raises(RuntimeError, match="out of memory"):
        nsmt(monkeypatch, "bench", "what=train", *words, f"output={tmp_path}/bench.json")
    figures = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert figures["dense_target_tokens_per_second"] > 0
