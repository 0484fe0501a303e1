"""Claims about each family: its real class, steered and watched, against blocks by hand."""

from functools import partial

import pytest
import torch
from language_models import model_of, neurons_of
from torch.nn import functional as F

from nsmt.errors import ConfigurationError
from nsmt.neurons.sites import Site
from nsmt.steering.families import FAMILIES, family_of, language_model_taps
from nsmt.steering.interventions import Intervention
from nsmt.steering.steered import steered

tanh_gelu = partial(F.gelu, approximate="tanh")
# What each family's configuration has for its non-linearity.
NONLINEAR = dict.fromkeys(FAMILIES, F.silu) | {
    "gemma": tanh_gelu,
    "gemma2": tanh_gelu,
    "gemma3_text": tanh_gelu,
    "phi": tanh_gelu,
    "bloom": tanh_gelu,
    "opt": F.relu,
    "gpt_neox": F.gelu,
}
PROGRAM = (
    Intervention(operation="constant", languages=("en",), value=-1.0),
    Intervention(operation="add", languages=("de",), strength=1.5),
)


def by_hand(family, model, change):
    """Replace each feed-forward block by its formula, with `change(layer, activation)` in it."""
    act = NONLINEAR[family]
    blocks = model.get_submodule(FAMILIES[family].blocks)
    for layer, block in enumerate(blocks):
        if family == "opt":
            second = block.fc2
            block.activation_fn = torch.nn.Identity()
            second.forward = partial(
                lambda x, layer, second: F.linear(
                    change(layer, act(x)), second.weight, second.bias
                ),
                layer=layer,
                second=second,
            )
            continue
        block.mlp.forward = partial(_FORMULAS.get(family, _gated), block.mlp, act, change, layer)


def _gated(mlp, act, change, layer, x):
    gate, up = F.linear(x, mlp.gate_proj.weight), F.linear(x, mlp.up_proj.weight)
    return F.linear(change(layer, act(gate)) * up, mlp.down_proj.weight)


def _fused(mlp, act, change, layer, x):
    gate, up = F.linear(x, mlp.gate_up_proj.weight).split(24, dim=-1)
    return F.linear(change(layer, act(gate)) * up, mlp.down_proj.weight)


def _plain(first, second, mlp, act, change, layer, x, residual=0):
    one, two = getattr(mlp, first), getattr(mlp, second)
    hidden = change(layer, act(F.linear(x, one.weight, one.bias)))
    return residual + F.linear(hidden, two.weight, two.bias)


_FORMULAS = {
    "phi3": _fused,
    "phi": partial(_plain, "fc1", "fc2"),
    "gpt_neox": partial(_plain, "dense_h_to_4h", "dense_4h_to_h"),
    "bloom": partial(_plain, "dense_h_to_4h", "dense_4h_to_h"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_under_intervention_is_the_model_by_hand(family):
    model, ids = model_of(family), torch.randint(3, 64, (3, 7))
    taps = language_model_taps(model)
    assert [site.name for site in taps] == ["decoder.0", "decoder.1", "decoder.2"]
    assert {site.width for site in taps} == ({64} if family == "bloom" else {24})
    neurons = neurons_of(taps)
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        with steered(model, taps, [PROGRAM], neurons):
            found = model(input_ids=ids).logits
        after = model(input_ids=ids).logits
    assert torch.equal(after, before)

    def change(layer, activation):
        site = list(taps)[layer]
        changed = activation.clone()
        changed[..., neurons.atlas.mask("en", site)] = -1.0
        mean = neurons.mean("de", site).float()
        chosen = neurons.atlas.mask("de", site)
        changed[..., chosen] += 1.5 * mean[chosen]
        return changed

    by_hand(family, model, change)
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
    assert not torch.allclose(expected, before, atol=1e-3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_an_unknown_family_is_named():
    with pytest.raises(ConfigurationError, match=r"'t5'.*\n.*llama"):
        family_of("t5")


def test_sites_have_the_width_of_the_second_projection():
    assert list(language_model_taps(model_of("llama"))) == [
        Site("decoder", layer, 24) for layer in range(3)
    ]
