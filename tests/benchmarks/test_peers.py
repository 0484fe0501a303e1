"""Peers compute what our own model computes, or a comparison would say nothing."""

import sys
from functools import partial

import pytest
import torch

from nsmt.benchmarks.peers import MissingPeerError, joeynmt, m2m100, present
from nsmt.benchmarks.peers.ctranslate2 import CTranslate2
from nsmt.data.batch import SequenceFormat
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction
from nsmt.models.decoding import DecodingSettings, search
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer

EN_DE = Direction("en", "de")
SEQUENCES = SequenceFormat(pad=0, eos=2, tags={"en": 4, "de": 5})
SHAPE = {"encoder_layers": 2, "decoder_layers": 2, "d_model": 16, "d_ff": 24, "heads": 2}


def make(norm="pre"):
    torch.manual_seed(0)
    settings = ModelSettings(**SHAPE, share_embeddings="all", max_positions=24, norm=norm)
    made = Transformer(settings, vocabulary_size=30, pad=0).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        made.decoder_embedding.weight *= 2
        # Sentences end now and then.
        last = made.decoder_norm if norm == "pre" else made.decoder_stack[-1].feed_forward_norm
        last.bias += 1.0 * made.decoder_embedding.weight[2]
        made.decoder_embedding.weight[0].zero_()
    return made


@pytest.fixture
def model():
    return make()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    pieces = [torch.randint(6, 30, (n,), generator=generator).numpy() for n in (3, 9, 1, 6)]
    return SEQUENCES.collate(pieces, pieces[::-1], [EN_DE] * 4, rows=[0] * 4)


@torch.no_grad()
def test_m2m100_with_our_weights_has_our_logits(model, batch):
    peer = m2m100.m2m100_of(model, eos=2).eval()
    theirs = peer(
        input_ids=batch.source_BS,
        attention_mask=batch.source_real_BS.long(),
        decoder_input_ids=batch.target_in_BT,
    ).logits
    ours = model.output(model(batch))
    assert torch.allclose(batch.counted(ours), batch.counted(theirs), atol=1e-5)
    loss = m2m100.smoothed_loss(peer, batch, smoothing=0.0)
    expected = torch.nn.functional.cross_entropy(
        batch.counted(ours), batch.counted(batch.target_out_BT)
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@torch.inference_mode()
def test_m2m100_finds_the_hypotheses_of_our_search(model, batch):
    found = search(model, batch, eos=2, settings=DecodingSettings(beam=3, max_length_extra=20))
    output = (
        m2m100.m2m100_of(model, eos=2)
        .eval()
        .generate(
            input_ids=batch.source_BS,
            attention_mask=batch.source_real_BS.long(),
            num_beams=3,
            do_sample=False,
            early_stopping=True,
            length_penalty=1.0,
            forced_bos_token_id=5,
            max_new_tokens=21,
        )
    )
    theirs = [[token for token in row[2:] if token not in (0, 2)] for row in output.tolist()]
    ours = [hypothesis.tokens for hypothesis in found]
    # Where a search ends for want of room, the two choose differently among what is unfinished.
    ended = [row for row, tokens in enumerate(ours) if len(tokens) < 19]
    assert any(len(ours[row]) > 1 for row in ended)
    assert [ours[row] for row in ended] == [theirs[row] for row in ended]


@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_ctranslate2_gives_each_token_our_probability(batch, norm):
    model = make(norm)
    peer = CTranslate2(model, eos=2, compute_type="float32", device="cpu")
    sources = [row[row != 0].tolist() for row in batch.source_BS]
    targets = [row[row != 0].tolist()[:-1] for row in batch.target_out_BT]
    rows = [[list(map(str, row)) for row in side] for side in (sources, targets)]
    theirs = [each.log_probs for each in peer._translator.score_batch(*rows)]
    logits = model.output(model(batch)).log_softmax(-1)
    ours = logits.gather(-1, batch.target_out_BT[..., None])[..., 0]
    for row, expected in zip(ours, theirs, strict=True):
        assert row[: len(expected)].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sharing", ["all", "none"])
def test_ctranslate2_finds_the_hypotheses_of_our_search(model, batch, sharing):
    if sharing == "none":
        settings = model.settings.model_copy(update={"share_embeddings": sharing})
        tied, model = model, Transformer(settings, vocabulary_size=30, pad=0).eval()
        model.load_state_dict(tied.state_dict())
        with torch.no_grad():
            model.encoder_embedding.weight *= -1
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    search_for = DecodingSettings(beam=3, max_length_extra=20)
    peer = CTranslate2(model, eos=2, compute_type="float32", device="cpu")
    rows = [row[row != 0].tolist() for row in batch.source_BS]
    theirs = peer.translate(rows, 21, tag=5, settings=search_for)
    ours = [each.tokens for each in search(model, batch, eos=2, settings=search_for)]
    ended = [row for row, tokens in enumerate(ours) if len(tokens) < 19]
    assert any(len(ours[row]) > 1 for row in ended)
    assert [ours[row] for row in ended] == [theirs[row] for row in ended]
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("missing", ["ctranslate2", "ctranslate2.specs"])
def test_a_toolkit_that_is_missing_is_left_out_and_said(model, monkeypatch, capsys, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    make = partial(CTranslate2, model, eos=2, compute_type="float32", device="cpu")
    assert present(make) is None
    assert "CTranslate2, a peer" in capsys.readouterr().err


def test_numbers_that_a_toolkit_cannot_compute_on_a_device_are_left_out_too(model, capsys):
    # This build knows no GPU.
    make = partial(CTranslate2, model, eos=2, compute_type="float32", device="cuda")
    assert present(make) is None
    assert "float32 on cuda" in " ".join(capsys.readouterr().err.split())


def test_untied_embeddings_are_refused(batch):
    settings = ModelSettings(**SHAPE, share_embeddings="decoder")
    with pytest.raises(ConfigurationError, match="share_embeddings"):
        m2m100.m2m100_of(Transformer(settings, vocabulary_size=30, pad=0), eos=2)


def test_m2m100_is_not_compared_with_layer_norms_behind_the_sub_layers():
    settings = ModelSettings(**SHAPE, share_embeddings="all", norm="post")
    with pytest.raises(ConfigurationError, match=r"set model\.norm=pre"):
        m2m100.m2m100_of(Transformer(settings, vocabulary_size=30, pad=0), eos=2)


def test_joeynmt_learns_from_our_batches(batch):
    settings = ModelSettings(**SHAPE, share_embeddings="all", dropout=0.0)
    try:
        peer = joeynmt.joeynmt_like(settings, vocabulary=30, pad=0, eos=2, smoothing=0.1)
    except MissingPeerError:
        pytest.skip("JoeyNMT is not installed: its dependencies do not go with ours")
    optimizer = torch.optim.Adam(peer.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        loss = joeynmt.smoothed_loss(peer, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
