import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nsmt.models import linear
from nsmt.models.flops import TokenCounts, forward_flops, training_flops


@pytest.mark.parametrize(
    "change", [{}, {"encoder_layers": 1, "d_ff": 40, "share_embeddings": "all"}]
)
def test_operations_are_those_that_torch_counts(
    make_model, make_batch, make_sentences, monkeypatch, change
):
    """One sentence at a time, so that nothing is padding; attention aside, exactly."""
    monkeypatch.setattr(linear, "_works", lambda: False)
    model = make_model(**change)
    batch = make_batch(make_sentences(1, longest=9))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.output(model(batch))
    counts = counter.get_flop_counts()["Global"]
    products = sum(n for op, n in counts.items() if "mm" in str(op))
    tokens = TokenCounts.of(batch)
    without = TokenCounts(tokens.source, tokens.target, 0, 0, 0)
    found = forward_flops(model.settings, vocabulary=23, tokens=without)
    assert found == products
    assert training_flops(model.settings, vocabulary=23, tokens=tokens) > 3 * found


def test_a_packed_batch_has_the_operations_of_its_sentences(
    make_model, make_batch, make_sentences, make_packed
):
    settings, sentences = make_model().settings, make_sentences(7)
    alone = [TokenCounts.of(make_batch([sentence])) for sentence in sentences]
    every = [forward_flops(settings, vocabulary=23, tokens=tokens) for tokens in alone]
    for batch in (make_batch(sentences), make_packed(sentences, 30)):
        found = forward_flops(settings, vocabulary=23, tokens=TokenCounts.of(batch))
        assert found == sum(every)
