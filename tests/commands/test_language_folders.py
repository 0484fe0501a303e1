"""Claims about the folders of `nsmt languages`: what another command leaves alone."""

import json
import re
from pathlib import Path

import pytest
from language_models import saved_model, saved_texts, words_of_files

from nsmt.cli import main
from nsmt.commands.compose import composed
from nsmt.commands.identify_languages import identify_languages
from nsmt.commands.language_steps import gathering
from nsmt.commands.languages import LanguagesConfig, languages
from nsmt.commands.sweeps import Sweep
from nsmt.neurons.atlas import NeuronAtlas

WORDS = {"de": "Hund", "en": "dog", "fr": "chien"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    saved_model(folder / "model")
    saved_texts(folder, WORDS)
    for language in WORDS:
        text = (folder / f"{language}.txt").read_text()
        (folder / f"other.{language}.txt").write_text(text.upper())
    return folder


def words(place, *more):
    return words_of_files(
        place,
        "languages=[de,en]",
        "gathering.tokens=1000",
        "gathering.context=64",
        "perplexity.tokens=128",
        "perplexity.context=64",
        "perplexity.random_seeds=[]",
        "steps=[perplexity]",
        f"output={place}/out",
        f"paths.runs={place}/runs",
        *more,
    )


def configured(place, *more):
    return composed("languages", words(place, *more), LanguagesConfig)


def contents(folder):
    """Every file below a folder, with what is in it and when it was written."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def page(place):
    return languages(configured(place))


OTHERS = [
    "selection.rate=0.2",
    "selection.percentile=0.9",
    "selection.rule=random",
    "languages=[en,de]",
    "languages=[de,en,fr]",
    "gathering.context=32",
    "gathering.tokens=500",
    "gathering.moments=[sum,square]",
    "text.path=PLACE/other.LANGUAGE.txt",
    "language_model.dtype=bfloat16",
]
# Which choose of the same statistics, or need more languages' beside them.
OF_THE_SAME = OTHERS[:5]


@pytest.mark.parametrize("word", OTHERS)
def test_what_another_command_found_is_left_as_it_is(page, place, word, monkeypatch):
    before = contents(place / "out")
    seen, gather = set(), gathering.gather

    def gathered(body, taps, batches, statistics, **options):
        seen.update(statistics.tasks)
        gather(body, taps, batches, statistics, **options)

    monkeypatch.setattr(gathering, "gather", gathered)
    other = languages(configured(place, word.replace("PLACE", str(place))))
    after = contents(place / "out")
    assert other.parents[1] != page.parents[1]
    assert other.parents[2] == page.parents[2]
    assert all(after[path] == was for path, was in before.items())
    if word in OF_THE_SAME:
        assert seen <= {"fr"}
    else:
        assert seen == {"de", "en"}


def test_a_folder_is_named_by_its_rule_and_the_record_names_its_statistics(page, place):
    assert re.fullmatch(r"lape-[0-9a-f]{8}", page.parents[1].name)
    cumulative = languages(configured(place, "selection.rule=cumulative")).parent
    assert re.fullmatch(r"cumulative-[0-9a-f]{8}", cumulative.parent.name)
    one, other = (
        json.loads((folder / "record.json").read_text())["statistics"]
        for folder in (page.parent, cumulative)
    )
    assert one == other
    assert {path.name for path in Path(one).iterdir()} >= {"de.safetensors", "en.safetensors"}


@pytest.mark.parametrize(
    "word", ["steps=[]", "perplexity.deactivate.value=1.0", "perplexity.deactivate.ratio=0.5"]
)
def test_other_steps_and_interventions_have_a_page_of_their_own(page, place, word):
    folder = page.parent
    assert (folder / "tables" / "perplexity.csv").is_file()
    before = contents(page.parents[1])
    other = languages(configured(place, word))
    assert (other.parents[1], other.parent) == (page.parents[1], other.parent)
    assert other != page
    assert (other.parent / "tables" / "neurons.csv").is_file()
    assert (other.parent / "tables" / "perplexity.csv").is_file() == (word != "steps=[]")
    del before[page.parents[1] / "atlas.safetensors"]
    assert contents(page.parents[1]).items() >= before.items()


def test_a_page_has_the_results_that_it_shows(page):
    # Every page has the relations of languages, and the results of its steps.
    names = {path.name for path in (page.parent / "results").iterdir()}
    assert names == {"perplexity.json", "relations.json"}
    found = json.loads((page.parent / "results" / "perplexity.json").read_text())
    assert list(found) == ["", "de", "en"]


def test_identify_says_where_both_are_and_languages_goes_on_from_them(place, tmp_path, capsys):
    more = ("steps=[]", f"output={tmp_path}")
    identify_languages(configured(place, *more))
    said = capsys.readouterr().out
    gathered = Path(re.search(r"MiB in (.*)", said)[1])
    atlas = Path(re.search(r"atlas: (.*)", said)[1])
    assert (gathered / "de.safetensors").is_file()
    assert NeuronAtlas.load(atlas).tasks == ("de", "en")
    assert languages(configured(place, *more)).parents[1] == atlas.parent


@pytest.mark.slow
def test_a_sweep_leaves_a_page_for_each_rate_and_gathers_once(place, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    rates = "selection.rate=0.1,0.2,0.3"
    swept = [word for word in words(place) if not word.startswith(("selection", "output"))]
    main(["languages", "-m", *swept, rates, f"output={tmp_path}/out"])
    (sweep,) = (place / "runs" / "sweeps").iterdir()
    assert [job.state for job in Sweep(sweep).jobs()] == ["finished"] * 3
    pages = list((tmp_path / "out").glob("lape-*/page-*/report.html"))
    assert len(pages) == 3
    found = [json.loads((page.parent / "record.json").read_text()) for page in pages]
    assert {each["config"]["selection"]["rate"] for each in found} == {0.1, 0.2, 0.3}
    assert len({each["statistics"] for each in found}) == 1
    assert len(list((tmp_path / "out" / "statistics").glob("*/de.safetensors"))) == 1
