"""Claims about the likelihood of text under language models, with and without a change."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from language_models import byte_tokenizer, model_of, neurons_of

from nsmt.evaluation.language_models.perplexity import likelihood, perplexities
from nsmt.steering.interventions import Intervention
from nsmt.steering.loading import wrapped
from nsmt.steering.steered import steered


@pytest.fixture
def model():
    return wrapped(model_of("llama"), byte_tokenizer(), name="tiny")


def test_likelihood_is_the_models_own_loss_whatever_the_batch(model):
    ids = torch.randint(3, 64, (5, 9)).tolist()
    with torch.inference_mode():
        own = sum(
            model.model(input_ids=row, labels=row).loss.item() * 8
            for row in torch.tensor(ids)[:, None]
        )
    for rows in (1, 2, 8):
        found = likelihood(model, ids, rows=rows)
        assert found.tokens == 5 * 8
        assert found.nll == pytest.approx(own, rel=1e-5)


def test_each_change_is_in_force_for_its_own_texts_alone(model):
    texts = {"de": torch.randint(3, 64, (2, 9)).tolist()}
    step = Intervention(operation="constant", languages=("de",), value=2.0)
    off = partial(steered, model.model, model.taps, [(step,)], neurons_of(model.taps))
    found = perplexities(model, texts, {"": nullcontext, "de": off, "again": nullcontext}, rows=2)
    assert found[""] == found["again"]
    assert found["de"]["de"].nll != pytest.approx(found[""]["de"].nll, rel=1e-3)
