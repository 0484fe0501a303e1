"""Claims about the readings of the logit lens, against loops written out."""

import math

import pytest
import torch
from language_models import byte_tokenizer, model_of
from torch._subclasses import FakeTensorMode

from nsmt.evaluation.language_models.lens import (
    MIXED,
    NO_LETTERS,
    PART,
    lens,
    token_script,
    vocabulary_scripts,
)
from nsmt.evaluation.language_models.perplexity import likelihood, nll
from nsmt.steering.lens import residual_stream, unembedded
from nsmt.steering.loading import wrapped


@pytest.fixture
def model():
    return wrapped(model_of("llama"), byte_tokenizer(), name="tiny")


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (" the", "Latin"),
        ("Straße", "Latin"),
        ("люди", "Cyrillic"),
        # A vowel sign is a mark and no letter.
        ("ा", "Devanagari"),
        ("بيت", "Arabic"),
        ("山", "Han"),
        ("やま", "Hiragana"),
        ("山やま", MIXED),
        ("コーヒー", "Katakana"),
        ("ｶﾀｶﾅ", "Katakana"),
        ("ＡＢＣ", "Latin"),
        ("人々", "Han"),
        ("1ª", "Latin"),
        ("µm", "Latin"),
        ("e\u0301", "Latin"),
        ("\ufffd", PART),
        ("a\ufffd", PART),
        (" 12.", NO_LETTERS),
        ("", NO_LETTERS),
    ],
)
def test_a_token_has_the_script_of_all_its_letters(text, script):
    assert token_script(text) == script


def test_every_row_of_the_head_has_a_script():
    tokenizer = byte_tokenizer()
    scripts, script_V = vocabulary_scripts(tokenizer, len(tokenizer) + 5)
    assert scripts == ["Latin", NO_LETTERS, PART]

    def told(token):
        return scripts[script_V[token]]

    assert told(tokenizer.encode("a")[0]) == "Latin"
    assert told(tokenizer.encode("ж")[0]) == PART
    # "</s>" is no word, and a row beyond the vocabulary no token.
    assert told(tokenizer.eos_token_id) == told(len(tokenizer) + 4) == NO_LETTERS


def test_special_tokens_without_a_row_of_the_head_have_no_place():
    scripts, script_V = vocabulary_scripts(byte_tokenizer(), 2)
    assert (scripts, script_V.tolist()) == ([NO_LETTERS], [0, 0])


def by_hand(model, contexts, script_V, scripts, layer):
    nll = agreed = 0
    shares, text = [0.0] * scripts, [0] * scripts
    for context in contexts:
        with residual_stream(model.model) as stream:
            model.model(input_ids=torch.tensor([context]))
        here, last = (unembedded(model.model, stream[each])[0] for each in (layer, -1))
        for place, target in enumerate(context[1:]):
            probabilities = here[place].softmax(-1).tolist()
            nll -= math.log(probabilities[target])
            agreed += int(here[place].argmax() == last[place].argmax())
            text[script_V[target]] += 1
            for token, probability in enumerate(probabilities):
                shares[script_V[token]] += probability
    return nll, agreed, shares, text


@torch.inference_mode()
def test_readings_are_the_sums_over_positions_whatever_the_batch(model):
    contexts = torch.randint(3, 64, (3, 6)).tolist()
    script_V = torch.randint(0, 4, (64,))
    for rows in (1, 2, 3):
        found = lens(model, contexts, script_V, 4, rows=rows)
        assert found.tokens == 3 * 5
        for layer in range(3):
            nll, agreed, shares, text = by_hand(model, contexts, script_V, 4, layer)
            assert found.nll[layer] == pytest.approx(nll, rel=1e-5)
            assert found.agreed[layer] == agreed
            assert found.shares[layer] == pytest.approx(shares, rel=1e-5)
            assert sum(found.shares[layer]) == pytest.approx(15)
            assert found.text == text


def test_the_last_layer_predicts_as_the_model_does(model):
    contexts = torch.randint(3, 64, (2, 9)).tolist()
    found = lens(model, contexts, torch.zeros(64, dtype=torch.int64), 1, rows=2)
    assert found.nll[-1] == pytest.approx(likelihood(model, contexts, rows=2).nll, rel=1e-6)
    assert found.agreed[-1] == found.tokens == 16
    assert found.nll[0] != pytest.approx(found.nll[-1], rel=1e-3)


def test_a_head_on_another_device_than_the_input_is_read_there():
    with FakeTensorMode():
        first, last = (torch.device("lazy", number) for number in range(2))
        logits_SV = torch.ones(4, 9, device=last)
        target_S = torch.ones(4, dtype=torch.int64, device=first)
        with pytest.raises(RuntimeError, match="same device"):
            torch.nn.functional.cross_entropy(logits_SV, target_S)
        assert nll(logits_SV, target_S).device == last
