"""Claims about the logit lens: at the last layer it is the model, whatever the family."""

import pytest
import torch
import transformers
from language_models import config_of, model_of

from nsmt.steering.families import FAMILIES
from nsmt.steering.lens import residual_stream, unembedded


def read(model, ids):
    with torch.inference_mode():
        with residual_stream(model) as stream:
            found = model(input_ids=ids, output_hidden_states=True)
        return stream, found, [unembedded(model, each) for each in stream]


def built(config):
    torch.manual_seed(1)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lens_at_the_last_layer_is_the_models_own_logits_to_the_bit(family):
    model, ids = model_of(family), torch.randint(3, 64, (2, 7))
    stream, found, logits = read(model, ids)
    assert len(stream) == 3
    assert torch.equal(logits[-1], found.logits)
    # What transformers calls hidden states: the embeddings first, the last one after the norm.
    for here, theirs in zip(stream[:-1], found.hidden_states[1:-1], strict=True):
        assert torch.equal(here, theirs)
    assert not torch.allclose(logits[0], logits[-1], atol=1e-2)
    # Nothing stays hooked.
    model(input_ids=ids)
    assert len(stream) == 3


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gemma3_text", {"final_logit_softcapping": 0.5}),
        ("cohere", {"logit_scale": 3.0}),
        ("opt", {"word_embed_proj_dim": 8}),
        ("opt", {"word_embed_proj_dim": 8, "do_layer_norm_before": False}),
        ("opt", {"_remove_final_layer_norm": True}),
    ],
)
def test_bounds_scales_and_projections_are_the_models(family, changes):
    config = config_of(family)
    for name, value in changes.items():
        setattr(config, name, value)
    model, ids = built(config), torch.randint(3, 64, (2, 7))
    _, found, logits = read(model, ids)
    assert torch.equal(logits[-1], found.logits)
