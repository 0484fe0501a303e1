"""Claims about generation in batches: the text of each prompt is that of the prompt alone."""

import pytest
import torch
from language_models import saved_model
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from nsmt.steering.generation import GenerationSettings, generate
from nsmt.steering.loading import LanguageModelSettings, load_language_model

PROMPTS = ("a", "Wer läuft dort über die Straße?", "to be", "abc", "0123456789" * 5)


@pytest.fixture
def model(tmp_path):
    """Without a token for padding, as Llama and Mistral are."""
    settings = LanguageModelSettings(name="tiny", path=str(saved_model(tmp_path / "model")))
    loaded = load_language_model(settings, cache=tmp_path)
    loaded.tokenizer.pad_token = None
    return loaded


def texts(model, *, batch, penalty, prompts=PROMPTS):
    settings = GenerationSettings(max_new_tokens=12, repetition_penalty=penalty, batch=batch)
    return generate(model, prompts, settings)


@pytest.fixture(params=["this release", "an earlier one"])
def padding(request, monkeypatch):
    """Earlier releases of `transformers` 5 penalise what a row is padded with."""
    penalise = RepetitionPenaltyLogitsProcessor.__call__

    def earlier(processor, ids, scores):
        processor.prompt_ignore_length = None
        return penalise(processor, ids, scores)

    if request.param == "an earlier one":
        monkeypatch.setattr(RepetitionPenaltyLogitsProcessor, "__call__", earlier)


@pytest.mark.usefixtures("padding")
def test_a_short_prompt_beside_a_long_one_ends_where_it_ends_alone(model):
    tokenizer = model.tokenizer
    scores = torch.zeros(model.model.config.vocab_size)
    # End of text comes first by less than the penalty.
    scores[tokenizer.eos_token_id], scores[tokenizer.encode("x")[0]] = 2.15, 2.0
    model.model.lm_head.register_forward_hook(lambda _, __, out: scores.expand_as(out))
    alone = texts(model, batch=1, penalty=1.1)
    assert alone == [""] * len(PROMPTS)
    assert texts(model, batch=8, penalty=1.1) == alone


@pytest.mark.usefixtures("padding")
@pytest.mark.parametrize("penalty", [1.0, 1.1, 3.0])
def test_a_text_does_not_depend_on_its_batch(model, penalty):
    model.model.double()
    with torch.no_grad():
        model.model.lm_head.weight.mul_(30)
    alone = texts(model, batch=1, penalty=penalty)
    assert len(set(alone)) > 1
    for batch in (2, 8):
        assert texts(model, batch=batch, penalty=penalty) == alone


def test_a_models_own_beams_and_sampling_do_not_make_it_other_than_greedy(model):
    plain = texts(model, batch=4, penalty=1.1)
    model.model.generation_config.num_beams = 3
    model.model.generation_config.do_sample = True
    assert texts(model, batch=4, penalty=1.1) == plain
