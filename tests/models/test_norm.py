"""Claims about where layer norms are: in front of the sub-layers or behind the sums."""

import math
from functools import partial

import pytest
import torch
from naive_transformer import naive_forward
from torch import nn

from nsmt.models.adapters import AdapterSettings, with_adapters
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.masks import DirectionMasks
from nsmt.neurons.recording import ActivationRecorder
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.training.identification import positions_of

NORMS = pytest.mark.parametrize("norm", ["pre", "post"])


def torchs_layer(layer, settings):
    """torch's own layer with the weights of one of ours."""
    crossed = hasattr(layer, "cross_attention")
    kind = nn.TransformerDecoderLayer if crossed else nn.TransformerEncoderLayer
    made = kind(
        settings.d_model,
        settings.heads,
        settings.d_ff,
        norm_first=settings.norm == "pre",
        batch_first=True,
    )
    pairs = [(made.linear1, layer.feed_forward.fc1), (made.linear2, layer.feed_forward.fc2)]
    pairs += [(made.norm1, layer.attention_norm), (made.self_attn, layer.attention)]
    if crossed:
        pairs += [(made.multihead_attn, layer.cross_attention), (made.norm2, layer.cross_norm)]
    pairs.append((made.norm3 if crossed else made.norm2, layer.feed_forward_norm))
    for theirs, ours in pairs:
        if isinstance(theirs, nn.MultiheadAttention):
            inputs = (ours.query, ours.key, ours.value)
            theirs.in_proj_weight.copy_(torch.cat([each.weight for each in inputs]))
            theirs.in_proj_bias.copy_(torch.cat([each.bias for each in inputs]))
            theirs, ours = theirs.out_proj, ours.output
        theirs.weight.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)
    return made.eval()


def torchs_hidden(model, batch, atlas, task):
    """Hidden states by torch's layers, whose first weights have the masked rows at zero."""
    settings = model.settings

    def embed(table, tokens_BS):
        scaled = table.weight[tokens_BS] * math.sqrt(settings.d_model)
        return scaled + model.positions_PD[: tokens_BS.shape[1]]

    def end(norm, x_BSD):
        return norm(x_BSD) if settings.norm == "pre" else x_BSD

    sites = {site.name: site for site in model.sites}
    masked = nn.ModuleDict()
    for stack in ("encoder", "decoder"):
        for depth, layer in enumerate(getattr(model, stack)):
            made = torchs_layer(layer, settings)
            if atlas is not None:
                made.linear1.weight *= atlas.mask(task, sites[f"{stack}.{depth}"])[:, None]
            masked[f"{stack}-{depth}"] = made
    x_BSD = embed(model.encoder_embedding, batch.source_BS)
    for depth in range(settings.encoder_layers):
        x_BSD = masked[f"encoder-{depth}"](x_BSD, src_key_padding_mask=~batch.source_real_BS)
    memory_BSD = end(model.encoder_norm, x_BSD)
    y_BTD = embed(model.decoder_embedding, batch.target_in_BT)
    length = y_BTD.shape[1]
    later_TT = torch.ones(length, length, dtype=torch.bool).triu(1)
    for depth in range(settings.decoder_layers):
        y_BTD = masked[f"decoder-{depth}"](
            y_BTD, memory_BSD, tgt_mask=later_TT, memory_key_padding_mask=~batch.source_real_BS
        )
    return end(model.decoder_norm, y_BTD)


@NORMS
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_the_model_is_torchs_own_layers_masks_included(
    make_model, make_sentences, make_batch, make_atlas, directions, norm, masked
):
    model, sentences = make_model(norm=norm), make_sentences(7)
    atlas = make_atlas(model) if masked else None
    batch = make_batch(sentences)
    masks = None
    if atlas is not None:
        masks = DirectionMasks(atlas, directions, sites=model.sites)(batch)
    found_BTD = model(batch, masks)
    for row, (task, _, _) in enumerate(sentences):
        expected_BTD = torchs_hidden(model, batch, atlas, str(directions[task]))
        real_T = batch.target_real_BT[row]
        assert torch.allclose(found_BTD[row][real_T], expected_BTD[row][real_T], atol=1e-5)


def gradients(model, batch, masks):
    model.zero_grad()
    hidden = batch.counted(model(batch, masks(batch)))
    (hidden * torch.arange(hidden.shape[-1])).sum().backward()
    reached = (each.grad for each in model.parameters() if each.grad is not None)
    return hidden.detach(), [each.clone() for each in reached]


@pytest.mark.parametrize("how", ["packed", "compiled", "recomputed"])
def test_post_norm_is_the_same_packed_compiled_and_recomputed(
    make_model, make_sentences, make_batch, make_packed, make_atlas, directions, how
):
    model, sentences = make_model(norm="post", dropout=0.0).train(), make_sentences(7)
    masks = DirectionMasks(make_atlas(model), directions, sites=model.sites)
    expected = gradients(model, make_batch(sentences), masks)
    if how == "compiled":
        torch.compiler.reset()
        model.compile_layers(backend="aot_eager")
    model.recompute = how == "recomputed"
    batch = make_packed(sentences, 20) if how == "packed" else make_batch(sentences)
    found = gradients(model, batch, masks)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    for one, other in zip(found[1], expected[1], strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_what_fires_in_a_post_norm_model_is_what_a_naive_one_counts(
    make_model, make_sentences, make_batch, directions
):
    model, sentences = make_model(norm="post"), make_sentences(6)
    batch = make_batch(sentences)
    statistics = ActivationStatistics(
        [str(each) for each in directions], model.sites, rule=CountRule("token")
    )
    recorder = ActivationRecorder(statistics)
    with recorder.attached(model.projections):
        recorder.observe(batch.direction_C, positions_of(batch))
        model(batch)
    expected = {site.name: torch.zeros(len(directions), site.width) for site in model.sites}

    def count(task, site, activation):
        expected[site][task] += (activation > 0).sum(0)
        return activation

    for row, (task, _, _) in enumerate(sentences):
        source = batch.source_BS[row][batch.source_real_BS[row]].tolist()
        target_in = batch.target_in_BT[row][batch.target_real_BT[row]].tolist()
        naive_forward(model, source, target_in, change=partial(count, task))
    for name, counts in expected.items():
        assert torch.equal(statistics.active[name].float(), counts)


@torch.no_grad()
def test_adapters_of_a_post_norm_model_come_after_the_normalised_sum(
    make_model, make_sentences, make_batch, directions
):
    model, batch = make_model(norm="post"), make_batch(make_sentences(5))
    plain = model(batch)
    trained = TrainedModel(model, vocabulary=None, directions=list(directions))
    groups = {direction: str(direction) for direction in directions}
    with_adapters(trained, groups, AdapterSettings(bottleneck=3))
    masks = trained.masks()(batch)
    # New ones change nothing.
    assert torch.allclose(model(batch, masks), plain, atol=1e-6)
    last = model.adapters.after("decoder", 1)
    for part in (last.up, last.up_bias):
        part.copy_(torch.randn_like(part))
    found = model(batch, masks)
    mean, spread = plain.mean(-1, keepdim=True), plain.var(-1, correction=0, keepdim=True)
    normed = (plain - mean) / torch.sqrt(spread + 1e-5)
    for row, task in enumerate(batch.direction_C.tolist()):
        inner = normed[row] * last.norm[task] + last.norm_bias[task]
        hidden = (inner @ last.down[task].T + last.down_bias[task]).clamp(min=0)
        expected = plain[row] + hidden @ last.up[task].T + last.up_bias[task]
        assert torch.allclose(found[row], expected, atol=1e-4)
