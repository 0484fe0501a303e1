"""Claims about `nsmt identify` of a language model: stopped, gone on with, and by several ranks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from language_models import saved_model, words_of_files

from nsmt.cli import main
from nsmt.commands.compose import composed
from nsmt.commands.identify_languages import identify_languages
from nsmt.commands.language_steps import gathering as module
from nsmt.commands.languages import LanguagesConfig, languages
from nsmt.commands.registry import meant
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics

ROOT = Path(__file__).parents[2]
CONTEXTS = 31


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identified")
    saved_model(folder / "model")
    for language, word in (("de", "Hund"), ("en", "dog")):
        lines = [f"{number} {word} {word[::-1]} {number * number}\n" for number in range(600)]
        (folder / f"{language}.txt").write_text("".join(lines))
    return folder


def words(place, output, *more):
    return words_of_files(
        place,
        "languages=[de,en]",
        "gathering.tokens=2000",
        "gathering.context=64",
        "gathering.rows=2",
        "gathering.state_every=4",
        "steps=[]",
        f"output={output}",
        *more,
    )


def configured(place, output, *more):
    return composed("languages", words(place, output, *more), LanguagesConfig)


@pytest.fixture(scope="module")
def whole(place):
    """What a process leaves that nobody stops."""
    identify_languages(configured(place, place / "whole"))
    return place / "whole"


def found(output, language):
    (path,) = output.glob(f"statistics/*/{language}.safetensors")
    return ActivationStatistics.load(path)


def same(output, other, *, sums):
    for language in ("de", "en"):
        one, two = found(output, language), found(other, language)
        assert one.provenance == two.provenance
        for site in one.sites:
            assert one.units[site.name].tolist() == [CONTEXTS * 64]
            assert torch.equal(one.units[site.name], two.units[site.name])
            assert torch.equal(one.active[site.name], two.active[site.name])
            mine, theirs = (each.moments["sum"][site.name] for each in (one, two))
            assert sums(mine, theirs)


def close(mine, theirs):
    return torch.allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_statistics_and_atlas_are_left_and_nothing_else(whole, capsys, place):
    left = sorted(path for path in whole.rglob("[a-z]*") if path.is_file())
    assert [path.name for path in left] == ["atlas.safetensors", "de.safetensors", "en.safetensors"]
    assert re.fullmatch(r"lape-[0-9a-f]{8}", left[0].parent.name)
    assert re.fullmatch(r"[0-9a-f]{8}", left[1].parent.name)
    assert NeuronAtlas.load(left[0]).tasks == ("de", "en")
    main(["identify", *words(place, whole)])
    said = capsys.readouterr().out
    assert "de: 1,984 tokens" in said
    assert f"MiB in {left[1].parent}\n" in said
    assert f"atlas: {left[0]}\n" in said


def test_languages_goes_on_from_what_identify_left(whole, place, monkeypatch):
    monkeypatch.setattr(module, "gather", None)
    page = languages(configured(place, whole))
    assert page.is_file()


def stopped(monkeypatch, *, after):
    """Have the round end in an error that many rounds from now; the list of contexts seen."""
    seen, gather = [], module.gather

    def counted(body, taps, batches, statistics, **options):
        if len(seen) == after:
            raise KeyboardInterrupt
        batches = list(batches)
        seen.append(sum(len(batch.ids_BS) for _, batch in batches))
        gather(body, taps, batches, statistics, **options)

    monkeypatch.setattr(module, "gather", counted)
    return seen


def interrupted(monkeypatch, config, *, after):
    """Identify until then; the contexts that were gone through."""
    with monkeypatch.context() as patch:
        seen = stopped(patch, after=after)
        with pytest.raises(KeyboardInterrupt):
            identify_languages(config)
    return seen


@pytest.mark.parametrize("after", [1, 5, 9])
def test_what_was_stopped_within_a_language_goes_on_and_ends_the_same(
    whole, place, tmp_path, monkeypatch, after
):
    before = interrupted(monkeypatch, configured(place, tmp_path), after=after)
    again = stopped(monkeypatch, after=None)
    identify_languages(configured(place, tmp_path))
    assert sum(before) + sum(again) == 2 * CONTEXTS
    assert sum(before) == min(4 * after, CONTEXTS) + 4 * max(0, after - 8)
    same(tmp_path, whole, sums=torch.equal)
    assert not list(tmp_path.rglob("*.state*"))


def test_a_state_of_other_settings_or_a_damaged_one_is_not_gone_on_with(
    whole, place, tmp_path, monkeypatch, caplog
):
    other = configured(place, tmp_path, "gathering.tokens=1000")
    before = interrupted(monkeypatch, other, after=2)
    (state,) = tmp_path.rglob("*.state*")
    interrupted(monkeypatch, configured(place, tmp_path), after=2)
    (torn,) = set(tmp_path.rglob("*.state*")) - {state}
    torn.write_bytes(b"torn")
    with monkeypatch.context() as patch:
        seen = stopped(patch, after=None)
        identify_languages(configured(place, tmp_path))
    assert sum(seen) == 2 * CONTEXTS
    assert "gathered again" in caplog.text
    # Which is as it was, for whoever goes on with it.
    with monkeypatch.context() as patch:
        again = stopped(patch, after=None)
        identify_languages(other)
    assert sum(before) + sum(again) == 2 * 15
    shutil.rmtree(state.parent)
    same(tmp_path, whole, sums=torch.equal)


def test_fewer_rows_go_on_from_a_state_and_from_statistics(whole, place, tmp_path, monkeypatch):
    before = interrupted(monkeypatch, configured(place, tmp_path), after=3)
    again = stopped(monkeypatch, after=None)
    identify_languages(configured(place, tmp_path, "gathering.rows=1"))
    assert sum(before) + sum(again) == 2 * CONTEXTS
    same(tmp_path, whole, sums=close)
    monkeypatch.setattr(module, "gather", None)
    identify_languages(configured(place, tmp_path, "gathering.rows=3"))


def ranks(*more, place, output):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    started = (*torchrun, "--nproc-per-node=2", "-m", "nsmt.cli", "identify")
    return subprocess.run(
        [*started, *words(place, output, *more)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.slow
def test_two_ranks_count_what_one_counts_and_go_on_from_its_state(
    whole, place, tmp_path, monkeypatch
):
    interrupted(monkeypatch, configured(place, tmp_path), after=3)
    assert list(tmp_path.glob("statistics/*/de.state.safetensors"))
    ended = ranks(place=place, output=tmp_path)
    assert ended.returncode == 0, ended.stderr
    same(tmp_path, whole, sums=close)
    one, other = (NeuronAtlas.load(*folder.rglob("atlas.*")) for folder in (whole, tmp_path))
    assert one == other
    # The first rank speaks for both.
    assert ended.stdout.count("atlas:") == 1


def test_identify_means_a_language_model_where_its_words_do():
    assert meant("identify", ["checkpoint=run", "corpus=text"]) == "identify"
    assert meant("identify", ["experiment=smollm2"]) == "identify languages"
    assert meant("identify", ["language_model.path=model"]) == "identify languages"
    assert meant("train", ["experiment=quickstart"]) == "train"


@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        ("languages", (), "runs as one process"),
        ("identify", ("language_model.device_map=auto",), "each of 2 ranks holds the whole model"),
    ],
)
def test_what_ranks_cannot_do_is_named(place, tmp_path, monkeypatch, capsys, command, more, said):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        main([command, *words(place, tmp_path, *more)])
    assert end.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("steps=[forcing]", "intervention@forcing.activate=noise"),
            "gathering.moments=[sum,square]",
        ),
        (("selection.rule=lave", "gathering.moments=[]"), "gathering.moments=[sum]"),
    ],
)
def test_moments_that_are_needed_are_asked_for_before_any_work(place, tmp_path, capsys, more, said):
    with pytest.raises(SystemExit):
        main(["identify", *words(place, tmp_path, *more)])
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
