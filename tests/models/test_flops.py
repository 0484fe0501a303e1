import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nsmt.models import linear
from nsmt.models.adapters import AdapterSettings, with_adapters
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.flops import TokenCounts, adapter_flops, forward_flops, training_flops


def products(compute):
    """Operations of the matrix products that torch counts, of attention's scores none."""
    with FlopCounterMode(display=False) as counter:
        compute()
    counts = counter.get_flop_counts()["Global"]
    return sum(n for op, n in counts.items() if "mm" in str(op) and "bmm" not in str(op))


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
    with torch.no_grad():
        counted = products(lambda: model.output(model(batch)))
    tokens = TokenCounts.of(batch)
    without = TokenCounts(tokens.source, tokens.target, 0, 0, 0)
    found = forward_flops(model.settings, vocabulary=23, tokens=without)
    assert found == counted
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


def test_adapters_on_a_frozen_model_have_the_operations_that_torch_counts(
    make_model, make_batch, make_sentences, directions, monkeypatch
):
    monkeypatch.setattr(linear, "_works", lambda: False)
    batch = make_batch(make_sentences(1, longest=9))
    tokens = TokenCounts.of(batch)
    forward, whole = {}, {}
    for bottleneck in (5, 12):
        trained = TrainedModel(make_model(), None, directions)
        groups = dict(zip(directions, ("a", "a", "b"), strict=True))
        with_adapters(trained, groups, AdapterSettings(bottleneck=bottleneck))
        model, choice = trained.model, trained.masks()(batch)

        def step(model=model, choice=choice):
            model.output(model(batch, choice)).sum().backward()

        with torch.no_grad():
            forward[bottleneck] = products(lambda m=model, c=choice: m.output(m(batch, c)))
        whole[bottleneck] = products(step)
        settings = model.settings
    base = forward_flops(
        settings, vocabulary=23, tokens=TokenCounts(tokens.source, tokens.target, 0, 0, 0)
    )
    own = {b: adapter_flops(settings, bottleneck=b, tokens=tokens) for b in forward}
    assert forward == {b: base + count for b, count in own.items()}
    # What the lowest layers are spared is of the frozen model.
    spared = {2 * base + 3 * own[b] - whole[b] for b in own}
    assert len(spared) == 1
    assert 0 < spared.pop() < base / 2
    for bottleneck in own:
        found = training_flops(settings, vocabulary=23, tokens=tokens, bottleneck=bottleneck)
        attention = 2 * forward_flops(settings, vocabulary=23, tokens=tokens) - 2 * base
        assert found == 2 * base + 3 * own[bottleneck] + attention
