"""The Transformer written out for one sentence, the reference of fast ones."""

import math

import torch


def naive_forward(
    model, source, target_in, change=lambda site, activation: activation, padding=(0, 0)
):
    """One sentence without batching, caches, fused attention or library layers.

    `change` makes of the activations of a site, by name, what goes on. Behind source and target
    come positions of zeros, `padding` of them, at which nothing looks: fairseq's padding.
    """
    width, heads = model.settings.d_model, model.settings.heads

    def position(place):
        half = width // 2
        angles = [(place + 2) * 10_000 ** (-i / (half - 1)) for i in range(half)]
        return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])

    def embed(table, tokens):
        rows = [table.weight[t] * math.sqrt(width) + position(p) for p, t in enumerate(tokens)]
        return torch.stack(rows)

    def norm(layer, x):
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + layer.eps) * layer.weight + layer.bias

    post = model.settings.norm == "post"

    def before(layer, x):
        return x if post else norm(layer, x)

    def behind(layer, x):
        return norm(layer, x) if post else x

    def attend(layer, queries, keys, causal):
        q, k, v = layer.query(queries), layer.key(keys), layer.value(keys)
        size = width // heads
        outputs = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size)
            if causal:
                for row in range(len(scores)):
                    scores[row, row + 1 :] = -math.inf
            outputs.append(scores.softmax(-1) @ v[:, part])
        return layer.output(torch.cat(outputs, -1))

    def feed(layer, x, site):
        return layer.fc2(change(site, layer.fc1(x).clamp(min=0)))

    def padded(x, count):
        return torch.cat([x, torch.zeros(count, width)])

    x = padded(embed(model.encoder_embedding, source), padding[0])
    for depth, layer in enumerate(model.encoder):
        z = before(layer.attention_norm, x)
        attended = attend(layer.attention, z, z[: len(source)], causal=False)
        x = behind(layer.attention_norm, x + attended)
        fed = feed(layer.feed_forward, before(layer.feed_forward_norm, x), f"encoder.{depth}")
        x = behind(layer.feed_forward_norm, x + fed)
    memory = before(model.encoder_norm, x[: len(source)])
    y = padded(embed(model.decoder_embedding, target_in), padding[1])
    for depth, layer in enumerate(model.decoder):
        z = before(layer.attention_norm, y)
        attended = attend(layer.attention, z, z[: len(target_in)], causal=True)
        y = behind(layer.attention_norm, y + attended)
        looked = attend(layer.cross_attention, before(layer.cross_norm, y), memory, causal=False)
        y = behind(layer.cross_norm, y + looked)
        fed = feed(layer.feed_forward, before(layer.feed_forward_norm, y), f"decoder.{depth}")
        y = behind(layer.feed_forward_norm, y + fed)
    return before(model.decoder_norm, y)
