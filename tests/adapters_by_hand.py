"""Adapters as they are defined, one position and one sentence after the other."""

from dataclasses import replace

import torch

from nsmt.models.attention import Reach


def plain_adapter(x_SD, adapters, stack, depth, group):
    """One group's, by the definition, in a loop over positions."""
    layer = getattr(adapters, stack)[depth]
    norm, norm_bias, down, down_bias, up, up_bias = (
        getattr(layer, name)[adapters.groups.index(group)]
        for name in ("norm", "norm_bias", "down", "down_bias", "up", "up_bias")
    )
    rows = []
    for x_D in x_SD:
        spread = ((x_D - x_D.mean()) ** 2).mean()
        normed = (x_D - x_D.mean()) / torch.sqrt(spread + 1e-5) * norm + norm_bias
        hidden = torch.clamp(down @ normed + down_bias, min=0)
        rows.append(x_D + up @ hidden + up_bias)
    return torch.stack(rows)


def slow_forward(model, batch, group):
    """Teacher-forced states of one sentence [T, D]: the base's layers, adapters in between."""
    adapters, memory = model.adapters, None
    model.adapters = None
    try:
        for stack, layers in (("encoder", model.encoder_stack), ("decoder", model.decoder_stack)):
            embedding = getattr(model, f"{stack}_embedding")
            tokens = batch.source_BS if memory is None else batch.target_in_BT
            x = model._embed(embedding, tokens, None)
            everything = Reach(allowed=torch.ones(1, 1, 1, batch.source_BS.shape[1]).bool())
            for depth, layer in enumerate(layers):
                if memory is None:
                    x = layer(x, everything, None)
                else:
                    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
                    x = layer(x, replace(everything, allowed=causal), memory, everything, None)
                x = plain_adapter(x[0], adapters, stack, depth, group)[None]
            memory = x = getattr(model, f"{stack}_norm")(x)
        return x[0]
    finally:
        model.adapters = adapters
