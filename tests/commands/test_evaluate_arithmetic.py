"""Claims about `evaluate eval=arithmetic`: unseen directions with neurons of languages changed."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from most_vowels import MostVowels

from nsmt.commands import zero_shot as module
from nsmt.commands.arithmetic import arithmetic
from nsmt.commands.compose import composed
from nsmt.commands.evaluate import EvaluateConfig
from nsmt.commands.score import score_texts
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import sequence_format
from nsmt.errors import ConfigurationError
from nsmt.evaluation.results import Comparison
from nsmt.languages import Direction
from nsmt.models.checkpoint import load_checkpoint
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.language_rules import lape
from nsmt.neurons.stack_languages import languages_of_stack
from nsmt.neurons.statistics import ActivationStatistics

DIRECTIONS = ("de-nl", "de-fr", "nl-de", "nl-fr", "fr-de", "fr-nl")
ARMS = ["add-x1", "add-x3", "replace", "pivot-off-add-x1", "pivot-off-add-x3"]
ARMS += ["both-off-add-x1", "both-off-add-x3"]


def lines(path):
    return path.read_text().removesuffix("\n").split("\n")


def evaluated(run, *words):
    words = (f"run={run}", "eval.min_sentences=5", "progress=false", *words)
    config = composed("evaluate", ["eval=arithmetic", *words], EvaluateConfig)
    return arithmetic(config, config.eval, identifier_of=MostVowels)


@pytest.fixture(scope="module")
def results(finished_run, tmp_path_factory):
    place = tmp_path_factory.mktemp("arithmetic") / "results"
    words = ("eval.strengths=[1,3]", "eval.random_seeds=[1,2]", "eval.selection.rate=0.2")
    return evaluated(finished_run, *words, "eval.max_sentences=6", f"output={place}")


@pytest.fixture(scope="module")
def told(results):
    return json.loads((results / "results" / "arithmetic.json").read_text())


@pytest.fixture(scope="module")
def everything(results):
    return json.loads((results / "results" / "zero_shot.json").read_text())


def test_every_program_and_its_controls_translate_every_direction(results, told, everything):
    assert list(told["arms"]) == [
        name for arm in ARMS for name in (arm, f"{arm}-random1", f"{arm}-random2")
    ]
    assert tuple(everything["directions"]) == DIRECTIONS
    for direction in DIRECTIONS:
        for system in ("dense", *told["arms"]):
            place = results / "translations" / direction
            assert len(lines(place / f"hyp.{system}.txt")) == 6
            assert len(lines(place / f"nll.{system}.tsv")) == 7
    assert {name: arm["control_of"] for name, arm in told["arms"].items()} == {
        name: None if name in ARMS else name.rpartition("-")[0] for name in told["arms"]
    }


def test_neurons_are_of_languages_by_stack_out_of_the_runs_own_counts(results, told, finished_run):
    measured = ActivationStatistics.load(results / "neurons" / "statistics.safetensors")
    of_run = ActivationStatistics.load(finished_run / "identification" / "statistics.safetensors")
    for site in of_run.sites:
        assert torch.equal(measured.active[site.name], of_run.active[site.name])
    for stack in ("encoder", "decoder"):
        atlas = NeuronAtlas.load(results / "neurons" / f"atlas-{stack}.safetensors")
        assert atlas == lape(languages_of_stack(of_run, stack), rate=0.2)
        assert set(atlas.tasks) == {"en", "de", "nl", "fr"}
        for language, of_site in told["neurons"][stack].items():
            assert of_site == {
                site.name: int(atlas.mask(language, site).sum()) for site in atlas.sites
            }
    assert sum(map(sum, (of.values() for of in told["neurons"]["decoder"].values()))) > 0


@torch.no_grad()
def test_means_are_those_of_one_sentence_after_the_other(results, finished_run, run_corpus):
    measured = ActivationStatistics.load(results / "neurons" / "statistics.safetensors")
    trained = load_checkpoint(finished_run / "dense" / "checkpoint")
    frame = sequence_format(trained.vocabulary)
    direction = Direction("en", "de")
    texts = Corpus.open(run_corpus).texts(direction, "valid")
    encoded = [trained.vocabulary.encode(list(side)) for side in texts]
    sums = {site: torch.zeros(2, site.width, dtype=torch.float64) for site in trained.model.sites}

    def seen(site):
        def look(_, inputs):
            values_SF = inputs[0][0].double()
            sums[site] += torch.stack([values_SF.sum(0), values_SF.square().sum(0)])

        return look

    for site, second in trained.model.projections.items():
        second.register_forward_pre_hook(seen(site))
    for source, target in zip(*encoded, strict=True):
        pieces = ([np.array(side)] for side in (source, target))
        trained.model(frame.collate(*pieces, [direction], rows=[0]))
    row = measured.row(str(direction))
    for site, expected in sums.items():
        for kind, values_F in zip(("sum", "square"), expected, strict=True):
            found_F = measured.moments[kind][site.name][row].double()
            torch.testing.assert_close(found_F, values_F, rtol=1e-4, atol=1e-3)


def test_a_system_that_is_not_changed_is_the_zero_shot_evaluations(results, run_copy):
    words = ["eval=zero_shot", f"run={run_copy}", "eval.min_sentences=5", "progress=false"]
    words += ["eval.max_sentences=6", "eval.systems=[dense]"]
    config = composed("evaluate", words, EvaluateConfig)
    other = module.zero_shot(config, config.eval, identifier_of=MostVowels)
    for direction in DIRECTIONS:
        for name in ("hyp.dense.txt", "nll.dense.tsv"):
            place = f"translations/{direction}/{name}"
            assert (results / place).read_text() == (other / place).read_text()


def test_programs_change_likelihoods_each_in_its_own_way(everything):
    for entry in everything["directions"].values():
        found = {name: system["scores"]["nll"] for name, system in entry["systems"].items()}
        assert len({found[name] for name in ("dense", *ARMS)}) == len(ARMS) + 1


def test_differences_are_those_of_means_over_directions(results, told, everything):
    def mean(name, metric):
        values = [e["systems"][name]["scores"][metric] for e in everything["directions"].values()]
        return sum(values) / len(values)

    against = Comparison.from_json((results / "results" / "against-dense.json").read_text())
    for name in ARMS:
        arm = told["arms"][name]
        for metric in ("bleu", "chrf++", "nll", "off-target"):
            own = mean(name, metric)
            controls = [mean(f"{name}-random{seed}", metric) for seed in (1, 2)]
            plain, random = arm["to_plain"][metric], arm["to_random"][metric]
            assert plain["value"] == pytest.approx(own - mean("dense", metric), abs=1e-9)
            assert random["value"] == pytest.approx(own - sum(controls) / 2, abs=1e-9)
            assert random["low"] <= random["value"] + 1e-6
            bootstrapped = against.by_group[name][metric]["Zero-shot"]
            # Resamples are kept in 32 bits.
            assert plain["low"] == pytest.approx(bootstrapped.low, abs=1e-4)
            assert plain["high"] == pytest.approx(bootstrapped.high, abs=1e-4)


def test_tables_show_programs_targets_and_neurons(results):
    tables = results / "tables"
    with (tables / "changes.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["Program", "Δ BLEU to dense", "Δ BLEU to random"]
    assert [row[0] for row in rows][:3] == ["add, strength 1", "add, strength 3", "replace"]
    with (tables / "targets-off-target.csv").open() as file:
        header, first, *rows = csv.reader(file)
    assert header == ["Program", "de", "nl", "fr"]
    assert first[0] == "dense"
    assert len(rows) == len(ARMS)
    with (tables / "neurons.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["Language", "encoder.0", "decoder.0", "decoder.1"]
    assert {row[0] for row in rows} == {"en", "de", "nl", "fr", "any", "of"}
    assert rows[-1] == ["of", "48", "48", "48"]
    text = (tables / "changes.md").read_text()
    for part in ("lape, rate 0.2", "none was chosen", "random neurons", "Smallest visible"):
        assert part in text
    assert (tables / "matrix-off-target-replace.csv").is_file()
    assert not list(tables.glob("matrix-*random*"))


def test_an_evaluation_that_was_stopped_goes_on_with_what_is_missing(
    run_copy, tmp_path, monkeypatch
):
    done = []

    def translate(trained, *rest, **named):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(named["label"])
        return score_texts(trained, *rest, **named)

    words = ("eval.languages=[de,fr]", "eval.max_sentences=5", f"output={tmp_path}/stopped")
    monkeypatch.setattr(module, "score_texts", translate)
    with pytest.raises(KeyboardInterrupt):
        evaluated(run_copy, *words)
    assert done == ["dense", "add, strength 1"]
    done.clear()
    done += ["started", "again", "without", "end"]
    monkeypatch.setattr("nsmt.commands.arithmetic.gather_statistics", None)
    found = evaluated(run_copy, *words)
    assert done[4] == "add, strength 1, random 1"
    assert "finished" in json.loads((found / "record.json").read_text())
    # Of other weights, another measure or other text, nothing is taken over.
    translated = len(done)
    evaluated(run_copy, *words)
    assert len(done) == translated
    evaluated(run_copy, *words, "eval.selection.rate=0.3")
    assert len(done) > translated


def test_a_masked_system_is_measured_and_changed_with_its_own_masks(run_copy):
    words = ("eval.system=neuron_specialization", "eval.languages=[de,fr]", "eval.identify=false")
    words += ("eval.max_sentences=5", "eval.random_seeds=[]", "eval.selection.rate=0.2")
    found = evaluated(run_copy, *words)
    atlas = NeuronAtlas.load(found / "neurons" / "atlas-decoder.safetensors")
    assert any(bool(atlas.masks(site).any()) for site in atlas.sites)
    assert found.parent == run_copy / "evaluations"
    told = json.loads((found / "results" / "arithmetic.json").read_text())
    assert told["arms"]["replace"]["to_random"] == {}
    assert told["metrics"].keys() == {"bleu", "chrf++", "nll"}
    measured = ActivationStatistics.load(found / "neurons" / "statistics.safetensors")
    trained = load_checkpoint(run_copy / "neuron_specialization" / "checkpoint")
    assert measured.provenance["model"] == trained.fingerprint
    # A masked neuron with a positive bias is always active, and counts as silent.
    for site in measured.sites:
        masked_TF = ~trained.atlas.select(measured.tasks).masks(site)
        assert masked_TF.any()
        assert not measured.active[site.name][masked_TF].any()
        assert not measured.moments["sum"][site.name][masked_TF].any()
    assert lape(languages_of_stack(measured, "decoder"), rate=0.2).provenance["bar"] < 1
    assert Direction.parse("en-de") in trained.directions


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval.system=dence"], r"eval.system: .*\n.*did you mean 'dense'"),
        (["eval.languages=[de,frr]"], "did you mean 'fr'"),
        (["eval.strengths=[1,1.0]"], "1 is twice among strengths"),
        (
            ["eval.programs=[{name: a, steps: [{operation: add, of: [pivot, target]}]}]"],
            "uses the mean of one language",
        ),
        (
            ["eval.programs=[{name: a, steps: [{operation: ad, of: [pivot]}]}]"],
            'programs.0.steps.0.operation="ad": input should be',
        ),
        (["eval.programs=[{name: a, steps: []}]"], "one without steps"),
        (["eval.programs=[]"], "no programs"),
    ],
)
def test_what_cannot_be_done_is_named(finished_run, tmp_path, words, message):
    with pytest.raises(ConfigurationError, match=message):
        evaluated(finished_run, *words, f"output={tmp_path}/none")
    assert not (tmp_path / "none").exists()


def test_a_system_of_several_models_is_refused(finished_run, tmp_path, monkeypatch):
    def several(folder):
        return replace(load_checkpoint(folder), weight_masks=object())

    monkeypatch.setattr("nsmt.commands.arithmetic.load_checkpoint", several)
    with pytest.raises(ConfigurationError, match=r"'dense' has other weights for each direction"):
        evaluated(finished_run, f"output={tmp_path}/none")
    assert not (tmp_path / "none").exists()


def test_the_example_of_the_page_works(results, finished_run):
    text = (Path(__file__).parents[2] / "docs" / "arithmetic.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for written, here in (("runs/NAME", finished_run), ("RESULTS", results), ('"ru"', '"nl"')):
        assert written in example
        example = example.replace(written, str(here))
    made = {}
    exec(example, made)
    assert {str(each) for each in made["found"]} == {"fr-de", "fr-nl"}
    assert all(len(texts) == 1 for texts in made["found"].values())
