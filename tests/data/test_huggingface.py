import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from nsmt.data.sources import huggingface
from nsmt.data.sources.huggingface import HuggingFaceSettings, HuggingFaceSource
from nsmt.errors import ConfigurationError, DataError
from nsmt.files import sha256
from nsmt.languages import Direction

CONF = Path(__file__).parents[2] / "conf" / "data" / "huggingface.yaml"
EN_DE = Direction("en", "de")
ROWS = [{"en": "a", "de": "A"}, {"en": "b", "de": None}]


@pytest.fixture
def datasets():
    library = pytest.importorskip("datasets")
    library.disable_progress_bars()
    return library


def settings(folder: Path | None, **options: object) -> HuggingFaceSettings:
    named = {"source": "huggingface", "pairs": ("en-de",)}
    root = {"root": str(folder)} if folder is not None else {}
    return HuggingFaceSettings(**{**named, **root, **options})


def fetched(root: Path, **options: object) -> HuggingFaceSource:
    source = HuggingFaceSource(settings(root, **options))
    source.settle(root.parent / "cache", progress=False)
    source.fetch(root.parent / "cache", progress=False)
    return source


def as_parquet(datasets, folder: Path, **splits: dict[str, list]) -> None:
    folder.mkdir(parents=True)
    for name, columns in splits.items():
        datasets.Dataset.from_dict(columns).to_parquet(folder / f"{name}-00000-of-00001.parquet")


def as_json(datasets, folder: Path, **splits: dict[str, list]) -> None:
    folder.mkdir(parents=True)
    for name, columns in splits.items():
        datasets.Dataset.from_dict(columns).to_json(folder / f"{name}.jsonl")


def as_saved(datasets, folder: Path, **splits: dict[str, list]) -> None:
    parts = {name: datasets.Dataset.from_dict(columns) for name, columns in splits.items()}
    datasets.DatasetDict(parts).save_to_disk(folder)


@pytest.mark.parametrize("write", [as_parquet, as_json, as_saved])
@pytest.mark.parametrize("subset", ["en-de", "de-en"])
def test_a_translation_column_is_read_whichever_way_round_the_subset_is_named(
    datasets, tmp_path, write: Callable, subset
):
    rows = {"translation": ROWS}
    write(datasets, tmp_path / "set" / subset, train=rows, validation=rows)
    source = fetched(tmp_path / "set")
    assert source.splits(EN_DE) == ("train", "valid")
    assert list(source.read(EN_DE, "train")) == [("a", "A"), ("b", "")]
    reverse = fetched(tmp_path / "set", pairs=("de-en",))
    assert list(reverse.read(EN_DE.reverse, "valid")) == [("A", "a"), ("", "b")]


@pytest.mark.parametrize("subset", ["en-de", "de-en"])
def test_two_columns_follow_the_way_round_of_the_subset(datasets, tmp_path, subset):
    first, second = subset.split("-")
    by_place = {"source": [f"{first} 0", None], "target": [f"{second} 0", f"{second} 1"]}
    as_parquet(datasets, tmp_path / "set" / subset, train=by_place)
    source = fetched(tmp_path / "set", columns=("source", "target"))
    assert next(source.read(EN_DE, "train")) == ("en 0", "de 0")
    assert "" in list(source.read(EN_DE, "train"))[1]


def test_columns_named_by_language_need_no_subset(datasets, tmp_path):
    columns = {"text_eng": ["a"], "text_de": ["A"], "id": [1]}
    as_json(datasets, tmp_path / "set", train=columns, test=columns)
    source = fetched(
        tmp_path / "set",
        subset=None,
        columns=("text_{src}", "text_{tgt}"),
        codes={"en": "eng"},
    )
    assert source.splits(EN_DE) == ("train", "test")
    assert list(source.read(EN_DE, "test")) == [("a", "A")]


def test_one_saved_split_is_train(datasets, tmp_path):
    datasets.Dataset.from_dict({"translation": ROWS}).save_to_disk(tmp_path / "set")
    source = fetched(tmp_path / "set", subset=None)
    assert source.splits(EN_DE) == ("train",)
    assert next(source.read(EN_DE, "train")) == ("a", "A")


def test_subsets_are_those_of_the_card_and_so_is_the_licence(datasets, tmp_path):
    as_parquet(datasets, tmp_path / "set" / "data", german={"translation": ROWS})
    (tmp_path / "set" / "README.md").write_text(
        "---\nlicense: cc-by-4.0\nconfigs:\n- config_name: pairs.de-en\n  data_files:\n"
        "  - split: train\n    path: data/german-*\n---\n"
    )
    source = fetched(tmp_path / "set", subset="pairs.{src}-{tgt}")
    assert next(source.read(EN_DE, "train")) == ("a", "A")
    assert source.licences() == dict.fromkeys(("en", "de"), "huggingface: cc-by-4.0")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: [cc-by-4.0, mit]\n---\n", "cc-by-4.0, mit"),
        ("---\nlicense: {open\n---\n", "unknown"),
        ("no front matter\n", "unknown"),
    ],
)
def test_a_licence_is_recorded_as_far_as_the_card_can_be_read(datasets, tmp_path, card, licence):
    as_json(datasets, tmp_path / "set" / "en-de", train={"translation": ROWS})
    (tmp_path / "set" / "README.md").write_text(card)
    assert fetched(tmp_path / "set").licences()["en"] == f"huggingface: {licence}"
    stated = fetched(tmp_path / "set", licence="CC0")
    assert stated.licences()["en"] == "huggingface: CC0"


def test_a_licence_without_a_card_is_what_the_saved_data_say(datasets, tmp_path):
    info = datasets.DatasetInfo(license="cc0-1.0")
    rows = datasets.Dataset.from_list([{"translation": row} for row in ROWS], info=info)
    datasets.DatasetDict(train=rows).save_to_disk(tmp_path / "set" / "en-de")
    assert fetched(tmp_path / "set").licences()["en"] == "huggingface: cc0-1.0"
    (tmp_path / "set" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert fetched(tmp_path / "set").licences()["en"] == "huggingface: mit"


def test_a_licence_that_nothing_tells_is_unknown(datasets, tmp_path):
    as_parquet(datasets, tmp_path / "set" / "en-de", train={"translation": ROWS})
    assert fetched(tmp_path / "set").licences() == dict.fromkeys(
        ("en", "de"), "huggingface: unknown"
    )


def test_names_of_splits_are_mapped(datasets, tmp_path):
    as_parquet(datasets, tmp_path / "set" / "en-de", train={"translation": ROWS})
    as_saved(
        datasets, tmp_path / "saved" / "en-de", dev={"translation": ROWS}, tr={"translation": ROWS}
    )
    source = fetched(tmp_path / "saved", splits={"train": "tr", "valid": "dev"})
    assert source.splits(EN_DE) == ("train", "valid")
    with pytest.raises(DataError, match="no train among dev, tr"):
        fetched(tmp_path / "saved")


def test_rows_are_read_batch_by_batch(datasets, tmp_path, monkeypatch):
    rows = [{"en": f"a{n}", "de": f"A{n}"} for n in range(7)]
    as_parquet(datasets, tmp_path / "set" / "en-de", train={"translation": rows})
    monkeypatch.setattr(huggingface, "_BATCH", 2)
    read = list(fetched(tmp_path / "set").read(EN_DE, "train"))
    assert read == [(row["en"], row["de"]) for row in rows]


def test_identity_is_the_revision_or_the_files(datasets, tmp_path):
    hub = HuggingFaceSource(settings(None, dataset="someone/set", revision="1a2b"))
    assert hub.identity() == {"dataset": "someone/set", "revision": "1a2b"}
    as_json(datasets, tmp_path / "set" / "en-de", train={"translation": ROWS})
    before = HuggingFaceSource(settings(tmp_path / "set")).identity()
    fetched(tmp_path / "set")
    assert HuggingFaceSource(settings(tmp_path / "set")).identity() == before
    assert before == {"files": {"en-de/train.jsonl": sha256(tmp_path / "set/en-de/train.jsonl")}}


def test_a_folder_elsewhere_or_touched_is_the_same_input(datasets, tmp_path):
    as_json(datasets, tmp_path / "set" / "en-de", train={"translation": ROWS})
    before = fetched(tmp_path / "set").identity()
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    # Notes of the hub's downloads, with their times.
    (tmp_path / "copy" / ".cache").mkdir()
    (tmp_path / "copy" / ".cache" / "note").write_text("1")
    assert fetched(tmp_path / "copy").identity() == before
    (tmp_path / "copy" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert fetched(tmp_path / "copy").identity() != before


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"text": ["a"]}, {}, "no column translation among text"),
        ({"translation": [{"en": "a", "fr": "b"}]}, {}, "no de among en, fr"),
        ({"translation": [{"en": "a", "de": 7}]}, {}, "de holds int64, not text"),
        ({"en": ["a"]}, {"columns": ("{src}", "{tgt}")}, "no de among en"),
    ],
)
def test_columns_that_do_not_fit_are_told(datasets, tmp_path, columns, options, message):
    as_parquet(datasets, tmp_path / "set" / "en-de", train=columns)
    with pytest.raises(DataError, match=message):
        fetched(tmp_path / "set", **options)


def test_what_cannot_be_loaded_is_told_with_what_the_library_says(datasets, tmp_path):
    hub = HuggingFaceSource(settings(None, dataset="no-one/set", revision="1"))
    with pytest.raises(DataError, match=r"no-one/set: en-de: "):
        hub.fetch(tmp_path / "cache", progress=False)
    (tmp_path / "set" / "en-de").mkdir(parents=True)
    (tmp_path / "set" / "en-de" / "train.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(DataError, match="'en-de' cannot be read"):
        fetched(tmp_path / "set")
    with pytest.raises(DataError, match="is not a folder"):
        fetched(tmp_path / "nowhere")
    with pytest.raises(DataError, match="call fetch"):
        HuggingFaceSource(settings(tmp_path / "set")).splits(EN_DE)


def test_an_untrained_pair_may_be_lacking_if_a_set_evaluates_it(datasets, tmp_path):
    as_parquet(datasets, tmp_path / "set" / "en-de", train={"translation": ROWS})
    de_fr = Direction("de", "fr")
    chosen = settings(tmp_path / "set", pairs=("en-de", "de-fr"), directions=("en-de",))
    source = HuggingFaceSource(chosen, evaluated={de_fr})
    source.fetch(tmp_path / "cache", progress=False)
    assert source.splits(de_fr) == ()


def test_without_the_library_the_fix_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(huggingface.importlib.sys.modules, "datasets", None)
    with pytest.raises(ConfigurationError, match=r'pip install "nsmt\[huggingface\]"'):
        HuggingFaceSource(settings(tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dataset": "a/b"},
        {"dataset": "a/b", "revision": "1", "root": "x"},
        {"root": "x", "subset": "../{src}"},
        {"root": "x", "subset": "/{src}"},
        {"root": "x", "subset": "{lang}"},
        {"root": "x", "columns": ("{src.__class__}", "b")},
        {"root": "x", "pairs": ("en-d/e",)},
    ],
)
def test_configurations_that_say_too_little_or_too_much_are_refused(options):
    with pytest.raises(ValidationError):
        settings(None, **options)


def test_the_configuration_fits_the_schema():
    conf = {**yaml.safe_load(CONF.read_text()), "root": "x", "pairs": ["en-de"]}
    chosen = HuggingFaceSettings.model_validate_json(json.dumps(conf))
    assert chosen.splits == settings(Path("x")).splits
