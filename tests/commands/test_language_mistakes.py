"""What is wrong in the words of `nsmt languages` is named before any work."""

import pytest
from three_languages import lay_out, words

from nsmt.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return lay_out(tmp_path_factory.mktemp("languages"))


@pytest.mark.parametrize(
    ("step", "word", "said"),
    [
        ("forcing", "languages=[de,en,bo]", "there are no questions in bo"),
        ("forcing", "languages=[de,en,ti]", "there are no questions in ti"),
        ("fallback", "languages=[de,en,ti]", "leave fallback out of steps"),
        ("fallback", "fallback.asked=fr", "'fr' is none of the languages"),
        ("fallback", "fallback.questions=/nowhere", "/nowhere cannot be read"),
        ("forcing", "forcing.questions=/nowhere", "/nowhere cannot be read"),
        ("tasks", "tasks.folder=/nowhere", "cannot be read"),
        ("tasks", "tasks.languages=[de,xx]", "tasks.languages: xx is not in the catalogue"),
    ],
)
def test_what_a_step_cannot_do_is_told_before_the_model_is_read(
    place, tmp_path, step, word, said, capsys
):
    """The model does not exist: any work would end in another error."""
    more = (f"steps=[{step}]", "language_model.path=/nowhere/at/all", word)
    with pytest.raises(SystemExit):
        main(["languages", *words(place, f"output={tmp_path}/out", *more)])
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("languages=[de,xx]", "'xx' is not in the catalogue"),
        ("languages=[de,en,de]", "languages has 'de' more than once"),
        ("languages=[de,en,fr]", "fr.txt fix: correct text.path"),
        ("gathering.context=100000", "does not fill a context"),
        ("selection.rule=lap", "lape"),
        ("language_model.path=/nowhere/at/all", "cannot be loaded"),
        ("steps=[perplexty]", "perplexity"),
        ("fallback.questions=/dev/null", "/dev/null is empty"),
        ("lens.context=513 lens.tokens=513", "lens.context=513 is more than the 512 positions"),
        ("gathering.context=513", "gathering.context=513 is more than the 512 positions of tiny"),
        ("forcing.activate.layers=[0,3]", "forcing.activate: layers: there is no layer 3"),
        ("perplexity.deactivate.ratio=1e-6", "perplexity.deactivate: ratio=1e-06 of"),
        ("selection.rate=0", "perplexity.deactivate: no neuron of the decoder is of any language"),
        ("lens.context=100000", "tokens=128 does not fill a context of 100000"),
        ("perplexity.tokens=63", "tokens=63 does not fill a context of 64"),
        ("forcing.activate.operation=multiply", "needs a value"),
        ("perplexity.deactivate.layers=[-1]", "greater than or equal to 0"),
        ("intervention@fallback.deactivate=add", 'fallback.deactivate.operation="add"'),
        ("intervention@lens.deactivate=of", "intervention=of is not there (choices: add"),
    ],
)
def test_what_is_wrong_is_named(place, tmp_path, word, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(["languages", *words(place, f"output={tmp_path}/out", *word.split())])
    assert end.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_has_no_value_is_named_all_at_once_with_what_it_is(capsys):
    with pytest.raises(SystemExit) as end:
        main(["languages", "language_model=huggingface", "text=files"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "'languages' has no value: codes of two or more languages of the catalogue" in said
    for key in ("languages", "language_model.name", "language_model.path", "text.path"):
        assert f"'{key}' has no value" in said
        assert f"{key}=…" in said.partition("fix:")[2]
    assert "object_type" not in said
