"""Where a language model keeps what is looked at and changed: one table for all families.

The names are those of Hugging Face `transformers` 5; `tests/steering/test_families.py` holds each
family's real class against a forward pass written out by hand, so that a renaming is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nsmt.errors import ConfigurationError
from nsmt.neurons.sites import Site
from nsmt.neurons.taps import Tap

STACK = "decoder"


@dataclass(frozen=True, slots=True)
class Family:
    """Dotted names: the list of blocks in the model, the rest within a block.

    `activation` is the non-linearity, whose output is the activation; `second` the projection that
    writes to the residual stream, and reads the activation or, in a gated block, act(gate)·up.
    `tail` is what the residual stream goes through after the last block and before the head.
    """

    blocks: str
    activation: str
    second: str
    tail: tuple[str, ...] = ("model.norm",)


_GATED = Family("model.layers", "mlp.act_fn", "mlp.down_proj")
# By `config.model_type`.
FAMILIES = {
    **dict.fromkeys(
        ("llama", "mistral", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3", "smollm3"), _GATED
    ),
    **dict.fromkeys(("cohere", "cohere2"), _GATED),
    "phi3": Family("model.layers", "mlp.activation_fn", "mlp.down_proj"),
    "phi": Family(
        "model.layers",
        "mlp.activation_fn",
        "mlp.fc2",
        tail=("model.final_layernorm",),
    ),
    "bloom": Family(
        "transformer.h",
        "mlp.gelu_impl",
        "mlp.dense_4h_to_h",
        tail=("transformer.ln_f",),
    ),
    # Either may be None: OPT-350m has no last norm, others no projection.
    "opt": Family(
        "model.decoder.layers",
        "activation_fn",
        "fc2",
        tail=("model.decoder.final_layer_norm", "model.decoder.project_out"),
    ),
    "gpt_neox": Family(
        "gpt_neox.layers",
        "mlp.act",
        "mlp.dense_4h_to_h",
        tail=("gpt_neox.final_layer_norm",),
    ),
}


def family_of(model_type: str) -> Family:
    """Where a model type keeps its activations; an unknown one is a ConfigurationError."""
    if model_type not in FAMILIES:
        raise ConfigurationError(
            f"where '{model_type}' models keep their feed-forward activations is not known",
            fix=f"use one of {', '.join(sorted(FAMILIES))}, or add it to nsmt/steering/families.py",
        )
    return FAMILIES[model_type]


def language_model_taps(model: nn.Module) -> dict[Site, Tap]:
    """The sites of a causal language model of `transformers`, by depth; `model.config` names it."""
    config = model.config
    family = family_of(str(config.model_type))  # type: ignore[union-attr]
    taps = {}
    for layer, block in enumerate(model.get_submodule(family.blocks).children()):
        second = block.get_submodule(family.second)
        site = Site(STACK, layer, second.in_features)  # type: ignore[arg-type]
        taps[site] = Tap(block.get_submodule(family.activation), second)
    return taps
