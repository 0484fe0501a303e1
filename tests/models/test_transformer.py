import math
from dataclasses import replace

import pytest
import torch
from naive_transformer import naive_forward
from pydantic import ValidationError
from torch.nn import functional as F

from nsmt.models.cache import DecoderCache
from nsmt.models.masks import DirectionMasks
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer

PAD, EOS = 0, 2


def decoded_step_by_step(model, batch, masks):
    """Logits at every target position, one `step` a position with the cache."""
    memories = model.memories(model.encode(batch, masks))
    cache = DecoderCache(len(memories), sentences=len(batch), device="cpu")
    steps = [
        model.step(
            token_B1, cache=cache, memories=memories, real_BS=batch.source_real_BS, masks=masks
        )
        for token_B1 in batch.target_in_BT.split(1, dim=1)
    ]
    return torch.cat(steps, dim=1)


@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_the_forward_pass_equals_a_naive_one_sentence_transformer(
    make_model, make_sentences, make_batch, norm
):
    model = make_model(norm=norm)
    batch = make_batch(make_sentences(4))
    hidden = model(batch)
    for row in range(4):
        source = batch.source_BS[row][batch.source_real_BS[row]].tolist()
        length = int(batch.target_real_BT[row].sum())
        expected = naive_forward(model, source, batch.target_in_BT[row, :length].tolist())
        assert torch.allclose(hidden[row, :length], expected, atol=2e-5)


@torch.no_grad()
def test_padding_does_not_change_real_positions(make_model, make_sentences, make_batch):
    model = make_model()
    sentences = make_sentences(6)
    together = model(make_batch(sentences))
    for row, sentence in enumerate(sentences):
        alone = model(make_batch([sentence]))[0]
        assert torch.allclose(together[row, : len(alone)], alone, atol=1e-5)


@torch.no_grad()
def test_what_stands_at_padding_does_not_matter(make_model, make_sentences, make_batch):
    model = make_model()
    batch = make_batch(make_sentences(6))
    real = batch.target_real_BT
    expected = model(batch)[real]
    batch.source_BS[~batch.source_real_BS] = 11
    batch.target_in_BT[~real] = 12
    assert torch.allclose(model(batch)[real], expected, atol=1e-6)


@torch.no_grad()
def test_later_target_tokens_do_not_change_earlier_positions(
    make_model, make_sentences, make_batch
):
    model = make_model()
    batch = make_batch(make_sentences(4, longest=7))
    expected = model(batch)
    for cut in range(1, batch.target_in_BT.shape[1]):
        target_in = batch.target_in_BT.clone()
        target_in[:, cut:] = (target_in[:, cut:] + 5) % 23
        found = model(replace(batch, target_in_BT=target_in))
        assert torch.allclose(found[:, :cut], expected[:, :cut], atol=1e-6)
        assert not torch.allclose(found[:, cut:], expected[:, cut:], atol=1e-3)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_decoding_with_the_cache_equals_the_teacher_forced_forward(
    make_model, make_sentences, make_batch, make_atlas, directions, masked, norm
):
    model = make_model(norm=norm)
    batch = make_batch(make_sentences(5))
    masks = None
    if masked:
        atlas = make_atlas(model)
        masks = DirectionMasks(atlas, directions, sites=model.sites)(batch)
    expected = model.output(model(batch, masks))
    assert torch.allclose(decoded_step_by_step(model, batch, masks), expected, atol=1e-5)


@torch.no_grad()
def test_beams_share_the_memory_of_their_sentence(make_model, make_sentences, make_batch):
    model = make_model()
    batch = make_batch(make_sentences(3))
    memories = model.memories(model.encode(batch))
    token = torch.randint(3, 23, (3, 4))

    def step(tokens):
        cache = DecoderCache(2, sentences=3, device="cpu")
        cache.reorder(torch.zeros_like(tokens))
        real = batch.source_real_BS
        return model.step(tokens, cache=cache, memories=memories, real_BS=real, masks=None)

    together = step(token)
    for beam in range(4):
        alone = step(token[:, beam : beam + 1])[:, 0]
        assert torch.allclose(together[:, beam], alone, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_beams_that_change_their_order_see_their_own_history_alone(
    make_model, make_sentences, make_batch, norm
):
    """Against teacher forcing of what each beam has become, with random origins at every step."""
    model = make_model(norm=norm)
    batch = make_batch(make_sentences(3))
    memories = model.memories(model.encode(batch))
    cache = DecoderCache(2, sentences=3, device="cpu")
    history = torch.full((3, 1, 1), EOS)
    for _ in range(20):
        logits = model.step(
            history[..., -1],
            cache=cache,
            memories=memories,
            real_BS=batch.source_real_BS,
            masks=None,
        )
        for beam in range(history.shape[1]):
            forced = replace(batch, target_in_BT=history[:, beam])
            expected = model.output(model(forced))[:, -1]
            assert torch.allclose(logits[:, beam], expected, atol=1e-4)
        origin = torch.randint(history.shape[1], (3, 4))
        cache.reorder(origin)
        history = history.gather(1, origin[..., None].expand(-1, -1, history.shape[-1]))
        history = torch.cat((history, torch.randint(3, 23, (3, 4, 1))), dim=2)
    rows = torch.tensor([2, 0])
    cache.take(rows)
    logits = model.step(
        history[rows, :, -1],
        cache=cache,
        memories=[memory.take(rows) for memory in memories],
        real_BS=batch.source_real_BS[rows],
        masks=None,
    )
    forced = replace(
        batch,
        source_BS=batch.source_BS[rows],
        source_real_BS=batch.source_real_BS[rows],
        target_in_BT=history[rows, 1],
    )
    assert torch.allclose(logits[:, 1], model.output(model(forced))[:, -1], atol=1e-4)


@pytest.mark.parametrize("width", [4, 16])
def test_positions_are_sines_then_cosines_counted_from_two(make_model, width):
    positions = make_model(d_model=width, heads=1).positions_PD
    half = width // 2
    for place in (0, 1, 17):
        for i in range(half):
            angle = (place + 2) * 10_000 ** (-i / (half - 1))
            assert positions[place, i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert positions[place, half + i].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_the_narrowest_model_has_positions(make_model):
    assert make_model(d_model=2, heads=1).positions_PD.isfinite().all()


@torch.no_grad()
def test_embeddings_are_scaled_by_the_root_of_the_width(make_model):
    model = make_model()
    place = torch.tensor([3, 4])
    embedded = model._embed_at(model.encoder_embedding, torch.tensor([[9, 7]]), place, end=5)
    weight = model.encoder_embedding.weight
    expected = weight[[9, 7]] * math.sqrt(16) + model.positions_PD[3:5]
    assert torch.allclose(embedded[0], expected)


@pytest.mark.parametrize(
    ("share", "tied_output", "tied_encoder", "tables"),
    [("none", False, False, 3), ("decoder", True, False, 2), ("all", True, True, 1)],
)
def test_embeddings_are_tied_as_asked(make_model, share, tied_output, tied_encoder, tables):
    model = make_model(share_embeddings=share)
    decoder = model.decoder_embedding.weight
    assert (model.output.weight is decoder) == tied_output
    assert (model.encoder_embedding.weight is decoder) == tied_encoder
    large = [p for p in model.parameters() if p.shape == decoder.shape]
    assert len(large) == tables


@pytest.mark.parametrize("share", ["none", "decoder", "all"])
def test_a_fresh_model_gives_padding_a_zero_embedding(make_model, share):
    model = make_model(share_embeddings=share)
    assert not model.decoder_embedding.weight[PAD].any()
    assert not model.encoder_embedding.weight[PAD].any()


def test_sites_are_every_feed_forward_layer_encoder_first(make_model):
    model = make_model(encoder_layers=1, decoder_layers=2)
    assert [site.name for site in model.sites] == ["encoder.0", "decoder.0", "decoder.1"]
    assert {site.width for site in model.sites} == {21}
    for site, projection in model.projections.items():
        layers = model.encoder_stack if site.stack == "encoder" else model.decoder_stack
        assert projection is layers[site.layer].feed_forward.fc2


@torch.no_grad()
def test_dropout_is_for_training_alone(make_model, make_sentences, make_batch):
    model = make_model(dropout=0.5, attention_dropout=0.3, activation_dropout=0.3)
    batch = make_batch(make_sentences(3))
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


@torch.no_grad()
def test_a_sequence_beyond_max_positions_is_refused(make_model, make_sentences, make_batch):
    model = make_model(max_positions=4)
    with pytest.raises(ValueError, match="max_positions"):
        model(make_batch(make_sentences(4, longest=8)))


@pytest.mark.parametrize(("d_model", "heads"), [(15, 1), (16, 3), (6, 6)])
def test_a_width_that_does_not_fit_the_heads_is_refused(d_model, heads):
    with pytest.raises(ValidationError, match="multiple of"):
        ModelSettings(encoder_layers=1, decoder_layers=1, d_model=d_model, d_ff=4, heads=heads)


def test_the_parameters_of_the_papers_large_model_are_as_many_as_reported():
    """438.6 million with the 128,035 pieces of EC30; counted without allocating them."""
    settings = ModelSettings(encoder_layers=6, decoder_layers=6, d_model=1024, d_ff=4096, heads=16)
    with torch.device("meta"):
        model = Transformer(settings, vocabulary_size=128_035, pad=0)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 438.6


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_gradients_reach_every_parameter(make_model, make_sentences, make_batch, norm):
    model = make_model(share_embeddings="none", norm=norm).train()
    batch = make_batch(make_sentences(8))
    logits = model.output(model(batch))
    loss = F.cross_entropy(logits.flatten(0, 1), batch.target_out_BT.flatten(), ignore_index=PAD)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # The bias of a key shifts all scores of a query alike, which softmax does not see.
        if not name.endswith("key.bias"):
            assert parameter.grad.abs().sum() > 0, name
