"""Claims about tasks out of data sets of the hub: the same examples as out of files; faults."""

import sys
from pathlib import Path

import pytest
from task_sets import PAIRS, card, write_files, write_hub

from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.language_models.tasks import TASKS, MissingLanguageError
from nsmt.evaluation.language_models.tasks_hub import HubSets, hub_examples
from nsmt.languages import CATALOGUE

datasets = pytest.importorskip("datasets")


@pytest.fixture
def folders(tmp_path):
    return write_hub(tmp_path / "hub", datasets)


def sets(folders, **changes):
    """The table of `tasks.hub` with folders for names, as a configuration says it."""
    table = HubSets().model_dump()
    for task, folder in folders.items():
        table[task] |= {"dataset": folder} | changes.get(task, {})
    return HubSets.model_validate(table)


@pytest.mark.parametrize("task", TASKS)
def test_examples_are_those_of_the_authors_files_of_the_same_content(tmp_path, folders, task):
    write_files(tmp_path)
    expected = TASKS[task].read(tmp_path, "de")
    assert len(expected) in (2, 3)
    assert hub_examples(task, sets(folders), "de") == expected


@pytest.mark.parametrize(
    ("task", "language", "config"),
    [
        ("translation", "de", "deu_Latn"),
        ("translation", "zh", "cmn_Hans"),
        ("translation", "tl", "fil_Latn"),
        ("translation", "et", "ekk_Latn"),
        ("comprehension", "et", "est_Latn"),
        ("comprehension", "zh", "zho_Hans"),
        ("answering", "zh", "xquad.zh"),
        ("inference", "zh", "zh"),
    ],
)
def test_a_languages_configuration_is_named_as_its_set_names_it(task, language, config):
    assert getattr(HubSets(), task).config_of(language) == config


def test_codes_of_the_user_are_taken_for_ours(folders):
    changed = sets(folders, answering={"codes": {"lb": "de"}}, inference={"codes": {"lb": "de"}})
    for task in ("answering", "inference"):
        assert hub_examples(task, changed, "lb") == hub_examples(task, changed, "de")


def test_name_configuration_split_and_revision_are_asked_for(monkeypatch):
    asked = []

    class Rows(list):
        features = None

    def load(*place, **options):
        asked.append((*place, options["split"], options["revision"], options["streaming"]))
        return Rows([{"premise": "One.", "hypothesis": "Two.", "label": "neutral"}])

    def configs(*place, **options):
        asked.append((*place, options["revision"]))
        return ["de", "fr"]

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "get_dataset_config_names", configs)
    some = sets({"inference": "facebook/asked"}, inference={"revision": "abc"})
    for _ in range(2):
        (example,) = hub_examples("inference", some, "de")
    assert example.expected == ("neutral",)
    # Once: what was found before any work is what is used.
    place = "facebook/asked"
    assert asked == [(place, "abc"), (place, "de", "test", "abc", True)]


@pytest.mark.parametrize("task", TASKS)
def test_a_language_that_the_set_lacks_is_told_from_a_missing_set(folders, task):
    with pytest.raises(MissingLanguageError, match=r"\(configuration '.*'\) has no 'lb'"):
        hub_examples(task, sets(folders), "lb")
    with pytest.raises(DataError, match="/nowhere/at/all cannot be read") as told:
        hub_examples(task, sets(dict.fromkeys(folders, "/nowhere/at/all")), "de")
    assert not isinstance(told.value, MissingLanguageError)
    assert f"tasks.hub.{task}" in told.value.fix


def test_a_set_that_is_not_reached_is_named(monkeypatch):
    def unreached(*_, **__):
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setattr(datasets, "get_dataset_config_names", unreached)
    with pytest.raises(DataError, match="facebook/never cannot be read: Couldn't reach the hub"):
        hub_examples("inference", sets({"inference": "facebook/never"}), "de")


def test_a_missing_library_is_named(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigurationError, match=r"nsmt\[huggingface\]"):
        hub_examples("inference", sets(folders), "de")


def test_a_split_that_is_not_there_is_named(folders):
    with pytest.raises(DataError, match=r"'de' of .*xnli cannot be read: Bad split: dev"):
        hub_examples("inference", sets(folders, inference={"split": "dev"}), "de")


def test_english_is_no_language_to_leave_out_of_translation(folders):
    files = {"devtest": "devtest/deu_Latn.parquet"}
    card(Path(folders["translation"]), {"deu_Latn": files})
    with pytest.raises(DataError, match=r"'eng_Latn'.* has no 'en'") as told:
        hub_examples("translation", sets(folders), "de")
    assert not isinstance(told.value, MissingLanguageError)


# Of each task in German, the file.
PARQUET = {
    "translation": ("deu_Latn", "devtest", "devtest/deu_Latn.parquet"),
    "answering": ("xquad.de", "validation", "xquad.de/validation-00000-of-00001.parquet"),
    "inference": ("de", "test", "de/test-00000-of-00001.parquet"),
}


def rewrite(folders, task, change):
    """Put other columns into a set's German; its other splits, which had the old ones, are gone."""
    folder = Path(folders[task])
    config, split, path = PARQUET[task]
    columns = datasets.Dataset.from_parquet(str(folder / path), cache_dir=str(folder / ".cache"))
    change(columns.to_dict()).to_parquet(folder / path)
    english = {"eng_Latn": {"devtest": "devtest/eng_Latn.parquet"}}
    card(folder, {config: {split: path}} | (english if task == "translation" else {}))


@pytest.mark.parametrize(
    ("task", "column"), [("translation", "text"), ("answering", "answers"), ("inference", "label")]
)
def test_a_missing_column_is_named(folders, task, column):
    def without(columns):
        columns["own"] = columns.pop(column)
        return datasets.Dataset.from_dict(columns)

    rewrite(folders, task, without)
    with pytest.raises(DataError, match=f"no column '{column}'.* among .*own") as told:
        hub_examples(task, sets(folders), "de")
    assert f"tasks.hub.{task}.dataset" in told.value.fix


def test_a_row_without_an_answer_is_named(folders):
    path = Path(folders["comprehension"]) / "data" / "deu_Latn.jsonl"
    path.write_text(path.read_text().replace('"correct_answer_num": "4"', '"other": "4"'))
    with pytest.raises(DataError, match="no column 'correct_answer_num', or nothing in it"):
        hub_examples("comprehension", sets(folders), "de")


@pytest.mark.parametrize("labels", [[0, 1, 2], ["yes", "no", "no"], [-1, 0, 1]])
def test_labels_that_name_no_relation_are_named(folders, labels):
    def unnamed(columns):
        return datasets.Dataset.from_dict(columns | {"label": labels})

    rewrite(folders, "inference", unnamed)
    said = r"in 'de' are no examples of inference.*is none of"
    with pytest.raises(DataError, match=said) as told:
        hub_examples("inference", sets(folders), "de")
    assert "tasks.hub.inference.dataset" in told.value.fix


def test_a_row_without_a_class_is_no_set_that_is_not_reached(folders):
    """As the data set writes an example that nobody has labelled."""

    def unlabelled(columns):
        text = datasets.Value("string")
        features = {"premise": text, "hypothesis": text}
        features["label"] = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
        labels = [-1, *range(len(columns["premise"]) - 1)]
        return datasets.Dataset.from_dict(columns | {"label": labels}, datasets.Features(features))

    rewrite(folders, "inference", unlabelled)
    said = r"in 'de' are no examples of inference.*class label -1"
    with pytest.raises(DataError, match=said) as told:
        hub_examples("inference", sets(folders), "de")
    assert "log in" not in told.value.fix


def test_classes_in_another_order_keep_their_names(folders):
    """The number of a class is the set's own affair."""

    def reordered(columns):
        names = ["contradiction", "entailment", "neutral"]
        features = {"premise": datasets.Value("string"), "hypothesis": datasets.Value("string")}
        features["label"] = datasets.ClassLabel(names=names)
        labels = [names.index(label) for _, _, label in PAIRS]
        return datasets.Dataset.from_dict(columns | {"label": labels}, datasets.Features(features))

    rewrite(folders, "inference", reordered)
    found = hub_examples("inference", sets(folders), "de")
    assert [example.expected for example in found] == [(label,) for _, _, label in PAIRS]


def test_sentences_of_other_ids_than_the_english_ones_are_named(folders):
    def shifted(columns):
        return datasets.Dataset.from_dict(
            columns | {"id": [number + 1 for number in columns["id"]]}
        )

    rewrite(folders, "translation", shifted)
    with pytest.raises(DataError, match=r"in 'de' are no examples of translation.*3 sentences"):
        hub_examples("translation", sets(folders), "de")


def test_flores_plus_has_each_language_of_the_catalogue_by_one_code():
    translation = HubSets().translation
    codes = {code: translation.config_of(code) for code in CATALOGUE}
    assert len(set(codes.values())) == len(CATALOGUE)
    names = {CATALOGUE[code].flores: name for code, name in codes.items()}
    # Of what openlanguagedata/flores relabelled (CHANGELOG.md, 2.0-rc.1 and 2.0-rc.2), ours.
    relabelled = {
        "zho_Hans": "cmn_Hans",
        "zho_Hant": "cmn_Hant",
        "tgl_Latn": "fil_Latn",
        "tzm_Tfng": "zgh_Tfng",
        "est_Latn": "ekk_Latn",
        "grn_Latn": "gug_Latn",
        "kon_Latn": "ktu_Latn",
        "ajp_Arab": "apc_Arab_sout3123",
        "apc_Arab": "apc_Arab_nort3139",
        "aka_Latn": "twi_Latn_asan1239",
        "twi_Latn": "twi_Latn_akua1239",
    }
    assert names == {old: relabelled.get(old, old) for old in names}
