"""Claims about `nsmt languages`: steps done once, results of the model's own."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from three_languages import LANGUAGES, SENTENCES, lay_out, words

from nsmt.commands.compose import composed
from nsmt.commands.language_steps import (
    fallback,
    fertility,
    forcing,
    gathering,
    lens,
    perplexity,
    tasks,
)
from nsmt.commands.languages import LanguagesConfig, languages
from nsmt.errors import DataError
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return lay_out(tmp_path_factory.mktemp("languages"))


def configured(place, *more):
    return composed("languages", words(place, *more), LanguagesConfig)


def never(*_, **__):
    raise AssertionError("measured again")


@pytest.fixture(scope="module")
def page(place):
    return languages(configured(place))


def test_statistics_atlas_results_tables_and_a_page_are_left(page):
    folder = page.parent
    atlas = NeuronAtlas.load(folder.parent / "atlas.safetensors")
    assert atlas.tasks == LANGUAGES
    for language in LANGUAGES:
        (path,) = page.parents[2].glob(f"statistics/*/{language}.safetensors")
        found = ActivationStatistics.load(path)
        assert found.tasks == (language,)
        # Whole contexts of 64 within 2,000 tokens.
        assert found.units["decoder.0"].tolist() == [31 * 64]
    perplexity = json.loads((folder / "results" / "perplexity.json").read_text())
    assert list(perplexity) == ["", *LANGUAGES, *(f"random 1 {each}" for each in LANGUAGES)]
    assert perplexity[""]["de"]["tokens"] == 4 * 63
    forcing = json.loads((folder / "results" / "forcing.json").read_text())
    assert len(forcing["plain"]) == len(forcing["forced"]) == 6 * 3 * 3
    with (folder / "tables" / "specificity.csv").open() as file:
        assert [row[0] for row in csv.reader(file)] == ["neurons", "language neurons", "random 1"]
    for step in ("fertility", "fallback", "lens", "relations"):
        assert (folder / "results" / f"{step}.json").is_file()
    record = json.loads((folder / "record.json").read_text())
    assert record["model"]
    assert record["statistics"] == str(path.parent)
    assert "Language neurons of tiny" in page.read_text()


def test_the_same_command_again_measures_nothing(page, place, monkeypatch):
    measuring = {
        gathering: "gather",
        perplexity: "perplexities",
        fertility: "paragraphs",
        forcing: "force",
        fallback: "fall_back",
        lens: "lens",
    }
    for module, name in measuring.items():
        monkeypatch.setattr(module, name, never)
    before = {path: path.read_bytes() for path in page.parent.parent.rglob("*.json")}
    del before[page.parent / "record.json"]
    assert languages(configured(place)) == page
    assert languages(configured(place, "perplexity.rows=2", "lens.rows=1")) == page
    assert all(path.read_bytes() == found for path, found in before.items())
    for word in (
        "forcing.activate.strength=2.0",
        "forcing.deactivate=null",
        "intervention@forcing.activate=replace",
        "perplexity.deactivate.ratio=0.5",
        "gathering.tokens=1000",
        "fertility.paragraphs=9",
        "fallback.order=outcome",
        "lens.deactivate.value=1.0",
    ):
        with pytest.raises(AssertionError, match="measured again"):
            languages(configured(place, word))


@pytest.mark.parametrize("step", ["forcing", "fallback"])
def test_other_questions_or_another_identifier_make_other_answers(page, place, monkeypatch, step):
    monkeypatch.setattr(forcing, "force", never)
    monkeypatch.setattr(fallback, "fall_back", never)
    config = configured(place, f"steps=[{step}]")
    with monkeypatch.context() as other:
        for module in (forcing, fallback):
            other.setattr(module, "questions", lambda codes, **_: {code: ["?"] for code in codes})
        with pytest.raises(AssertionError, match="measured again"):
            languages(config)
    languages(config)
    monkeypatch.setattr("nsmt.data.identification.metadata.version", lambda _: "another")
    with pytest.raises(AssertionError, match="measured again"):
        languages(config)


def kept(page, name):
    """The file of what was measured once."""
    (path,) = (page.parent.parent / "kept").glob(f"{name}-????????.json")
    return path


def test_perplexities_go_on_from_the_changes_that_are_there(page, place, monkeypatch):
    whole = kept(page, "perplexity")
    before = whole.read_text()
    whole.unlink()
    kept(page, "perplexity/random-1-hi").unlink()
    measured, perplexities = [], perplexity.perplexities

    def measuring(model, texts, changes, **named):
        measured.extend(changes)
        return perplexities(model, texts, changes, **named)

    monkeypatch.setattr(perplexity, "perplexities", measuring)
    languages(configured(place))
    assert measured == ["random 1 hi"]
    assert whole.read_text() == before
    # More random sets leave what was measured as it is.
    languages(configured(place, "perplexity.random_seeds=[1,2]", "steps=[perplexity]"))
    assert measured[1:] == [f"random 2 {language}" for language in LANGUAGES]
    # The model as it is, is as it was, whatever is switched off.
    languages(configured(place, "perplexity.deactivate.value=0.5", "steps=[perplexity]"))
    assert measured[4:] == [
        f"{random}{language}" for random in ("", "random 1 ") for language in LANGUAGES
    ]


@pytest.mark.parametrize(
    ("step", "module", "name", "part", "word", "calls_of_another"),
    [
        ("forcing", forcing, "force", "hi", "forcing.activate.strength=0.5", 3),
        ("fallback", fallback, "generate", "random-1/2-de", "fallback.deactivate.value=1.0", 6),
    ],
)
def test_answers_go_on_from_those_that_are_there(
    page, place, tmp_path, monkeypatch, step, module, name, part, word, calls_of_another
):
    shutil.copytree(page.parents[2], tmp_path / "out")
    more = (f"output={tmp_path}/out", f"steps=[{step}]")
    page = languages(configured(place, *more))
    whole = kept(page, step)
    before = whole.read_text()
    whole.unlink()
    kept(page, f"{step}/{part}").unlink()
    calls, real = [], getattr(module, name)

    def counted(*given, **named):
        calls.append(given)
        return real(*given, **named)

    monkeypatch.setattr(module, name, counted)
    assert languages(configured(place, *more)) == page
    assert len(calls) == 1
    assert whole.read_text() == before
    # Another intervention has a page of its own; the model as it is, is as it was.
    assert languages(configured(place, *more, word)) != page
    assert len(calls) == 1 + calls_of_another


def test_fallback_switches_off_one_language_after_the_other_beside_random_neurons(page):
    found = json.loads((page.parent / "results" / "fallback.json").read_text())
    off = [[], ["en"], ["en", "de"], ["en", "de", "hi"]]
    assert list(found["levels"]) == ["", "random 1"]
    for levels in found["levels"].values():
        assert [level["off"] for level in levels] == off
        assert all(len(level["texts"]) == len(level["came"]) == 6 for level in levels)
    plain, random = (levels[0] for levels in found["levels"].values())
    assert plain == random


def test_fallback_asks_what_a_file_asks_and_goes_on_by_what_came(place, tmp_path):
    (tmp_path / "asked.txt").write_text("Who runs?\n\nWhy?\n")
    words = (f"fallback.questions={tmp_path}/asked.txt", "fallback.order=outcome")
    more = ("fallback.asked=hi", "steps=[fallback]", f"output={tmp_path}/out")
    folder = languages(configured(place, *words, *more)).parent
    found = json.loads((folder / "results" / "fallback.json").read_text())
    for levels in found["levels"].values():
        assert levels[1]["off"] == ["hi"]
        assert sorted(levels[-1]["off"]) == list(LANGUAGES)
        assert all(len(level["texts"]) == 2 for level in levels)


def test_the_lens_ends_where_perplexity_does(place, tmp_path):
    words = ("perplexity.tokens=128", "steps=[perplexity,lens]", f"output={tmp_path}/out")
    folder = languages(configured(place, *words)).parent / "results"
    own, lens = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("perplexity", "lens")
    )
    assert list(lens["readings"]) == ["", "own neurons", "random 1"]
    for language in LANGUAGES:
        for change, reading in (
            ("", ""),
            (language, "own neurons"),
            (f"random 1 {language}", "random 1"),
        ):
            last = lens["readings"][reading][language]
            assert last["tokens"] == own[change][language]["tokens"] == 2 * 63
            assert last["nll"][-1] == pytest.approx(own[change][language]["nll"], rel=1e-5)


def test_other_text_and_damaged_statistics_are_gathered_again(place, tmp_path, caplog):
    for language, sentence in SENTENCES.items():
        (tmp_path / f"{language}.txt").write_text(f"{sentence}\n" * 600)
    words = (f"text.path={tmp_path}/LANGUAGE.txt", "steps=[]", f"output={tmp_path}/out")
    page = languages(configured(place, *words))
    (path,) = (tmp_path / "out" / "statistics").glob("*/de.safetensors")

    def counts():
        # A copy: what is loaded is the file itself, which is overwritten below.
        return ActivationStatistics.load(path).active["decoder.0"].clone()

    def fingerprint(page):
        return json.loads((page.parent / "record.json").read_text())["data_fingerprint"]

    first, text = counts(), fingerprint(page)
    (tmp_path / "de.txt").write_text("Ganz andere Sätze stehen jetzt hier, viele davon.\n" * 600)
    after = languages(configured(place, *words))
    second, other = counts(), fingerprint(after)
    assert not torch.equal(first, second)
    assert len(text) == len(other) == 64
    assert text != other
    # What was found in the text before it was edited is left.
    assert after != page
    assert fingerprint(page) == text
    path.write_bytes(b"torn")
    assert languages(configured(place, *words)) == after
    assert torch.equal(counts(), second)
    assert fingerprint(after) == other
    assert "gathered again" in caplog.text


def test_a_damaged_result_is_named(place, tmp_path):
    words = (f"output={tmp_path}/out", "perplexity.random_seeds=[]")
    page = languages(configured(place, "steps=[perplexity]", *words))
    kept(page, "perplexity").write_text("[]")
    with pytest.raises(DataError, match=r"perplexity-\w+\.json is damaged"):
        languages(configured(place, "steps=[perplexity]", *words))


def test_tasks_are_done_as_the_model_is_and_with_each_language(place, tmp_path, monkeypatch):
    lines = ["language\tgold_label\tsentence1\tsentence2"]
    lines += [f"{language}\tneutral\tOne.\tTwo." for language in LANGUAGES for _ in range(3)]
    (tmp_path / "xnli").mkdir()
    (tmp_path / "xnli" / "xnli.dev.tsv").write_text("\n".join(lines) + "\n")
    more = (
        f"tasks.folder={tmp_path}",
        "tasks.names=[inference]",
        "tasks.examples=2",
        "tasks.languages=[de,fr,en,hi]",
    )
    page = languages(configured(place, "steps=[tasks]", *more, f"output={tmp_path}/out"))
    results = page.parent / "results"
    found = json.loads((results / "tasks.json").read_text())
    assert found["scores"].keys() == {"inference"}
    assert found["lacking"] == {"inference": ["fr"]}
    for language in LANGUAGES:
        assert list(found["scores"]["inference"][language]) == ["", *LANGUAGES]
    assert (page.parent / "tables" / "task-inference-accuracy.csv").is_file()
    assert "inference: accuracy" in page.read_text()
    for language in LANGUAGES:
        assert kept(page, f"tasks/inference-{language}").is_file()
    # What was done goes on from there, and is not done again.
    kept(page, "tasks").unlink()
    kept(page, "tasks/inference-hi").unlink()
    tested, generate = [], tasks.generate

    def generated(model, prompts, *more, **named):
        tested.append(len(prompts))
        return generate(model, prompts, *more, **named)

    monkeypatch.setattr(tasks, "generate", generated)
    words = ("steps=[tasks]", *more, f"output={tmp_path}/out")
    languages(configured(place, *words))
    assert tested == [2] * 4
    fewer = languages(configured(place, *words, "tasks.languages=[hi,de]"))
    assert tested == [2] * 4
    results = fewer.parent / "results"
    some = json.loads((results / "tasks.json").read_text())["scores"]["inference"]
    assert some == {language: found["scores"]["inference"][language] for language in ("hi", "de")}
    # Other examples are another task.
    (tmp_path / "xnli" / "xnli.dev.tsv").write_text("\n".join(lines).replace("One.", "1.") + "\n")
    monkeypatch.setattr(tasks, "generate", never)
    with pytest.raises(AssertionError, match="measured again"):
        languages(configured(place, "steps=[tasks]", *more, f"output={tmp_path}/out"))


def test_the_example_of_the_page_works(page, place):
    output = page.parents[2]
    (gathered,) = {path.parent for path in output.glob("statistics/*/hi.*")}
    text = (Path(__file__).parents[2] / "docs" / "languages.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for written, here in (
        ("meta-llama/Llama-3.1-8B", place / "model"),
        ("runs/languages/llama-3.1-8b", output),
        ("lape-1a2b3c4d", page.parents[1].name),
        ("5e6f7a8b", gathered.name),
    ):
        assert written in example
        example = example.replace(written, str(here))
    made = {}
    exec(example, made)
    assert len(made["answers"]) == 2
