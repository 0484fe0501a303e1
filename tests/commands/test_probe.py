"""Claims about `nsmt probe`: what it leaves, that it measures once, and what it leaves alone."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nsmt.cli import main
from nsmt.commands import probe as command
from nsmt.commands.compose import composed
from nsmt.commands.config import RunConfig
from nsmt.commands.probe import ProbeConfig
from nsmt.commands.probe_subject import Subject, opened
from nsmt.languages import LanguageSettings, LanguageTable
from nsmt.models.checkpoint import load_checkpoint
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.probing.replicas import weighted_counts

QUICK = (
    "interventions.bootstrap_samples=50",
    "interventions.random_seeds=[1,2]",
    "interventions.k=[70]",
    "gradients.tokens=100",
    "transfer.tokens=100",
    "stability.replicas=5",
    "progress=false",
)
PROBES = ("interventions", "gradients", "transfer", "stability", "family")


@pytest.fixture
def nsmt(monkeypatch):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["nsmt", *words])
        main()

    return run


@pytest.fixture(scope="module")
def probed(finished_run, tmp_path_factory):
    """A copy of the finished run with the results of all probes. Do not write into it."""
    place = tmp_path_factory.mktemp("probed") / finished_run.name
    folder = Path(shutil.copytree(finished_run, place))
    command.probe(composed("probe", [f"run={folder}", *QUICK], ProbeConfig))
    return folder


@pytest.fixture
def probed_copy(probed, tmp_path):
    return Path(shutil.copytree(probed, tmp_path / probed.name))


def test_that_no_family_is_known_is_of_the_key_and_other_families_stand_as_they_are():
    unknown = {"xx": LanguageSettings(name="unknown")}
    subject = SimpleNamespace(
        corpus=SimpleNamespace(fingerprint="", languages=LanguageTable(["de", "xx"], unknown)),
        run=composed("train", ["data=synthetic"], RunConfig),
        weights=lambda stage: stage,
        statistics_digest=None,
        stages=[],
    )
    key = command._key(subject, composed("probe", ["run=x"], ProbeConfig), "family")
    assert key["families"] == {"de": "Germanic", "xx": None}


def results(folder):
    paths = (folder / "probes").glob("*.json")
    return {path.stem: json.loads(path.read_text()) for path in paths}


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_probe_leaves_a_certified_result_with_tables_and_figures(probed):
    found = results(probed)
    assert set(found) == set(PROBES)
    run = json.loads((probed / "record.json").read_text())
    for name, kept in found.items():
        assert kept["certificate"]["data_fingerprint"] == run["data_fingerprint"]
        assert kept["certificate"]["config"]["stability"]["replicas"] == 5
        assert kept["certificate"]["finished"]
        assert kept["skipped"] == {}
        for suffix in ("csv", "md", "tex"):
            assert (probed / "probes" / "tables" / f"{name}.{suffix}").stat().st_size > 100
    for name in ("interventions", "interventions-by-direction", "intervention-ratios", "stability"):
        text = (probed / "probes" / "tables" / f"{name}.md").read_text()
        assert "Smallest visible difference (half of the 95 % interval): 0." in text
    tables = {path.stem for path in (probed / "probes" / "tables").glob("*.md")}
    assert tables >= {"gradients", "gradients-by-layer", "transfer", "family", "family-shape"}
    for name in tables:
        text = (probed / "probes" / "tables" / f"{name}.md").read_text()
        assert "Smallest visible difference" in text, name
    for name in ("gradients-dense", "transfer-neuron_specialization", "stability", "family"):
        for suffix in ("png", "svg"):
            assert (probed / "probes" / "figures" / f"{name}.{suffix}").stat().st_size > 1000


def test_the_run_itself_is_left_as_it_was(finished_run, probed):
    after = contents(probed)
    assert {path: after[path] for path in contents(finished_run)} == contents(finished_run)


def test_likelihoods_of_models_as_trained_are_those_of_the_run(probed):
    arms = results(probed)["interventions"]["result"]["arms"]
    comparison = json.loads((probed / "results" / "against-dense.json").read_text())
    systems = {each["name"]: each["scores"] for each in comparison["systems"]}
    named = {"dense": "dense", "continue-dense": "continue_dense"}
    for arm, system in (named | {"specialised": "neuron_specialization"}).items():
        for direction, entry in arms[arm]["directions"].items():
            assert entry["nll"] == pytest.approx(systems[system][direction]["nll"], rel=1e-5)


def test_swaps_are_recorded_by_name(probed):
    partners = results(probed)["interventions"]["result"]["partners"]
    # en is the pivot; de and nl are Germanic, fr is the next family.
    assert partners["masks of the neighbour"] == {
        "en-de": "en-nl",
        "en-nl": "en-fr",
        "en-fr": "en-de",
        "de-en": "nl-en",
        "nl-en": "fr-en",
        "fr-en": "de-en",
    }


def test_the_set_itself_is_counted_as_the_run_counted_it(probed, run_corpus):
    from nsmt.data.corpus import Corpus

    corpus = Corpus.open(run_corpus)
    trained = load_checkpoint(probed / "dense" / "checkpoint")
    plain = ActivationStatistics.load(probed / "identification" / "statistics.safetensors")
    for row, direction in enumerate(trained.directions):
        table = corpus.table(direction, "valid")
        ones = torch.ones(1, len(table), dtype=torch.int64)
        counts = weighted_counts(trained, direction, table, ones, rule=plain.rule, tokens=512)
        for site in plain.sites:
            assert torch.equal(counts.active[site.name][0], plain.active[site.name][row])


def test_weights_in_memory_are_the_same_bits_after_each_probe(probed_copy, monkeypatch):
    loaded = []
    load = Subject.load

    def watched(subject, stage):
        loaded.append((stage, load(subject, stage)))
        return loaded[-1][1]

    monkeypatch.setattr(Subject, "load", watched)
    monkeypatch.setattr(command, "save_figure", lambda *_: None)
    shutil.rmtree(probed_copy / "probes")
    for name in PROBES:
        loaded.clear()
        config = composed("probe", [f"run={probed_copy}", f"probes=[{name}]", *QUICK], ProbeConfig)
        command.probe(config)
        assert loaded or name == "family"
        for stage, trained in loaded:
            fresh = load_checkpoint(probed_copy / stage / "checkpoint").model.state_dict()
            for key, value in trained.model.state_dict().items():
                assert value.numpy().tobytes() == fresh[key].numpy().tobytes(), (name, stage, key)
            assert all(each.grad is None for each in trained.model.parameters())
            assert all(each.requires_grad for each in trained.model.parameters())


def test_what_is_there_is_not_measured_again(probed_copy, nsmt, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(command, "_MEASURES", dict.fromkeys(PROBES, refuse))
    monkeypatch.setattr(command, "save_figure", lambda *_: None)
    before = results(probed_copy)
    shutil.rmtree(probed_copy / "probes" / "tables")
    nsmt("probe", f"run={probed_copy}", *QUICK)
    assert results(probed_copy) == before
    assert (probed_copy / "probes" / "tables" / "family.csv").is_file()
    shown = capsys.readouterr().out
    assert shown.count("was measured at") == len(PROBES)
    assert "penalty of identified" in shown


def test_other_settings_are_measured_and_the_other_probes_kept(probed_copy, nsmt):
    before = results(probed_copy)
    asked = "probes=[stability,family,interventions]"
    nsmt("probe", f"run={probed_copy}", *QUICK, asked, "stability.replicas=6")
    after = results(probed_copy)
    assert after["stability"]["result"]["replicas"] == 6
    for name in set(PROBES) - {"stability"}:
        assert after[name] == before[name]


def test_other_weights_are_measured_again(probed_copy, nsmt):
    before = results(probed_copy)
    shutil.rmtree(probed_copy / "neuron_specialization")
    shutil.copytree(probed_copy / "continue_dense", probed_copy / "neuron_specialization")
    nsmt("probe", f"run={probed_copy}", *QUICK, "probes=[interventions,family]")
    after = results(probed_copy)
    assert after["family"] == before["family"]
    assert after["interventions"]["skipped"] == {"neuron_specialization": "it has no masks"}
    assert "specialised" not in after["interventions"]["result"]["arms"]
    assert "dense, identified masks" in after["interventions"]["result"]["arms"]


def restage(folder, stages):
    path = folder / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"stages": stages}))


def test_systems_of_several_models_are_left_out_with_the_reason(run_copy, nsmt, capsys):
    restage(run_copy, ["dense", "continue_dense", "lass"])
    nsmt("probe", f"run={run_copy}", *QUICK, "probes=[interventions,gradients]")
    for kept in results(run_copy).values():
        assert kept["skipped"] == {"lass": "it is a model of its own for each direction"}
    assert set(results(run_copy)["gradients"]["result"]["systems"]) == {"dense", "continue_dense"}
    assert "leaves out lass: it is a model of its own" in capsys.readouterr().out


def test_a_run_of_a_dense_model_alone_has_what_can_be_had(run_copy, nsmt):
    restage(run_copy, ["dense"])
    shutil.rmtree(run_copy / "identification")
    nsmt("probe", f"run={run_copy}", *QUICK)
    found = results(run_copy)
    for name in ("interventions", "gradients", "family"):
        assert "identified no neurons" in found[name]["skipped"]["dense"]
    assert set(found["transfer"]["result"]["systems"]) == {"dense"}
    assert found["stability"]["result"]["k"]


def test_a_damaged_result_is_named(probed_copy, nsmt, capsys):
    (probed_copy / "probes" / "family.json").write_text("{")
    with pytest.raises(SystemExit):
        nsmt("probe", f"run={probed_copy}", *QUICK, "probes=[family]")
    assert "family.json is damaged" in capsys.readouterr().err


def test_a_probe_that_is_not_there_is_refused_by_name(run_copy, nsmt, capsys):
    with pytest.raises(SystemExit):
        nsmt("probe", f"run={run_copy}", "probes=[gradient]")
    assert "probes.0" in capsys.readouterr().err
    assert not (run_copy / "probes").exists()


def test_the_neurons_of_a_run_are_those_of_its_specialised_model(probed):
    subject = opened(probed, accelerator=None, progress=False)
    assert subject.identified() == subject.load("neuron_specialization").atlas
