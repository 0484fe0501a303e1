"""Claims about COMET: a process of another environment, whose scores are kept by content."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bootstraps import compare
from comet_program import calls, comet_environment, segment_score

from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.comet import (
    CometProgram,
    CometSettings,
    Segments,
    cache_key,
    scores_of,
    with_comet,
)
from nsmt.evaluation.groups import Group
from nsmt.evaluation.results import TestOutput
from nsmt.languages import Direction

EN_DE, DE_EN = Direction.parse("en-de"), Direction.parse("de-en")
TEXT = {
    EN_DE: Segments(
        ("one", "two\u2028x", "three"), ("eins", "", "d\rrei"), ("eins", "zwei", "vier")
    ),
    DE_EN: Segments(("eins", "zwei"), ("one", "two"), ("one", "too")),
}


def program(environment, **settings):
    return CometProgram.find(CometSettings(kind="comet", environment=str(environment), **settings))


def expected(segments):
    pairs = zip(segments.hypotheses, segments.references, strict=True)
    return [segment_score(mt.replace("\r", " "), ref) for mt, ref in pairs]


@pytest.fixture
def environment(tmp_path):
    return comet_environment(tmp_path / "comet")


def test_each_sentence_gets_the_score_that_the_program_gave_it(environment, tmp_path):
    found = scores_of(TEXT, program(environment), cache=tmp_path / "cache")
    assert found == {direction: expected(segments) for direction, segments in TEXT.items()}


def test_the_program_is_called_once_with_the_settings_and_without_our_modules(
    environment, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    chosen = program(environment, model="Some/model", gpus=2, batch_size=3)
    scores_of(TEXT, chosen, cache=tmp_path / "cache")
    (call,) = calls(environment)
    given = {key: call[key] for key in ("model", "gpus", "batch_size", "quiet", "sentences")}
    assert given == {
        "model": "Some/model",
        "gpus": 2,
        "batch_size": 3,
        "quiet": True,
        "sentences": 5,
    }
    assert call["path"] is None
    assert chosen.signature == "model:Some/model|nrefs:1|version:unbabel-comet 2.2.7"


def test_what_was_scored_is_not_scored_again_and_only_a_changed_direction_is(environment, tmp_path):
    chosen, cache = program(environment), tmp_path / "cache"
    first = scores_of(TEXT, chosen, cache=cache)
    assert scores_of(TEXT, chosen, cache=cache) == first
    assert len(calls(environment)) == 1
    changed = TEXT | {DE_EN: replace(TEXT[DE_EN], hypotheses=("one", "too"))}
    again = scores_of(changed, chosen, cache=cache)
    assert [call["sentences"] for call in calls(environment)] == [5, 2]
    assert again == {EN_DE: first[EN_DE], DE_EN: [1.0, 1.0]}


def test_a_damaged_entry_of_the_cache_is_scored_again_with_a_warning(environment, tmp_path, caplog):
    chosen, cache = program(environment), tmp_path / "cache"
    first = scores_of(TEXT, chosen, cache=cache)
    for direction, damage in ((EN_DE, "{"), (DE_EN, json.dumps({"scores": [1.0]}))):
        (cache / f"{cache_key(chosen, TEXT[direction])}.json").write_text(damage)
    assert scores_of(TEXT, chosen, cache=cache) == first
    assert caplog.text.count("scored again") == 2
    assert len(calls(environment)) == 2


def test_the_key_depends_on_model_version_and_every_sentence(environment):
    chosen, text = program(environment), TEXT[DE_EN]
    others = [
        (replace(chosen, identity="another"), text),
        (replace(chosen, version="2.3"), text),
        (chosen, replace(text, sources=("eins", "drei"))),
        (chosen, replace(text, hypotheses=("one", "2"))),
        (chosen, replace(text, references=("one", "2"))),
        # The same words at other places.
        (chosen, replace(text, hypotheses=text.references, references=text.hypotheses)),
    ]
    keys = [cache_key(*each) for each in [(chosen, text), *others]]
    assert len(set(keys)) == len(keys)
    assert cache_key(replace(chosen, gpus=1, batch_size=1), text) == keys[0]


def test_a_model_in_a_file_is_known_by_its_content(environment, tmp_path):
    path = tmp_path / "model.ckpt"
    keys = set()
    for content in ("one", "two"):
        path.write_text(content)
        keys.add(cache_key(program(environment, model=str(path)), TEXT[DE_EN]))
    assert len(keys) == 2
    with pytest.raises(ConfigurationError, match="does not exist"):
        program(environment, model=str(tmp_path / "none.ckpt"))


@pytest.mark.parametrize("made", [False, True])
def test_without_an_environment_the_error_says_how_to_make_one(tmp_path, made):
    if made:
        (tmp_path / "comet" / "bin").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="pip install unbabel-comet"):
        program(tmp_path / "comet")
    with pytest.raises(ConfigurationError, match=r"eval\.environment is not given"):
        CometProgram.find(CometSettings(kind="comet"))


@pytest.mark.parametrize(
    "told",
    [
        "KeyError(\"Model 'Unbabel/wmt22-comet-da' not supported by COMET.\")",
        "OSError(\"We couldn't connect to 'https://huggingface.co' to load the files\")",
    ],
)
def test_missing_weights_are_told_from_other_failures(tmp_path, told):
    chosen = program(comet_environment(tmp_path / "comet", before=f"raise {told}"))
    with pytest.raises(ConfigurationError, match="no weights of Unbabel/wmt22-comet-da") as error:
        scores_of(TEXT, chosen, cache=tmp_path / "cache")
    assert "\n" not in error.value.problem
    assert "~/.cache/huggingface" in error.value.fix
    assert not (tmp_path / "cache").exists()


def test_a_failure_is_told_in_the_words_of_the_program(tmp_path):
    before = "raise RuntimeError('CUDA out of memory')"
    chosen = program(comet_environment(tmp_path / "comet", before=before))
    with pytest.raises(DataError, match=r"exit status 1\): RuntimeError: CUDA out of memory"):
        scores_of(TEXT, chosen, cache=tmp_path / "cache")


def test_a_program_that_cannot_be_started_is_named(environment, tmp_path):
    (environment / "bin" / "comet-score").write_text("#!/nowhere/python\n")
    with pytest.raises(ConfigurationError, match="cannot be started"):
        scores_of(TEXT, program(environment), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("after", "match"),
    [
        ("rows.pop()", "gave 4 scores for 5 sentences"),
        ("rows.reverse()", "other sentences"),
        ("rows[0]['COMET'] = float('nan')", "no numbers"),
        ("del rows[0]['COMET']", "no scores that can be read: KeyError"),
        ("sys.exit(0)", "no scores that can be read: FileNotFoundError"),
    ],
)
def test_scores_that_do_not_belong_to_the_sentences_are_refused(tmp_path, after, match):
    chosen = program(comet_environment(tmp_path / "comet", after=after))
    with pytest.raises(DataError, match=match):
        scores_of(TEXT, chosen, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_systems_are_compared_by_means_of_segment_scores(environment, tmp_path):
    references = [f"number {number}" for number in range(30)]
    texts = {"base": ["nothing"] * 20 + references[20:], "better": ["nothing", *references[1:]]}
    outputs = {
        name: with_comet(
            {EN_DE: TestOutput(lines, references)},
            {EN_DE: references},
            program(environment),
            cache=tmp_path / "cache",
        )
        for name, lines in texts.items()
    }
    group = Group("All", (EN_DE,), "all")
    found = compare(outputs, baseline="base", groups=[group], samples=200)
    means = {
        name: np.mean([segment_score(*pair) for pair in zip(lines, references, strict=True)])
        for name, lines in texts.items()
    }
    for name, mean in means.items():
        assert found.system(name).scores[EN_DE]["comet"] == pytest.approx(mean)
    difference = found.by_direction["better"]["comet"][EN_DE]
    assert difference.value == pytest.approx(means["better"] - means["base"])
    assert 0 < difference.low < difference.value < difference.high
    assert "unbabel-comet 2.2.7" in found.signatures["comet"]
