"""The pass with each direction's weights against one direction at a time, multiplied by hand."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_masks_read import mask_of

from nsmt.errors import AtlasError
from nsmt.languages import Direction
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.masked_weights import DirectionWeights, masked_parts
from nsmt.models.weight_masks import OUTPUT, WeightMasks, magnitude_masks, maskable_weights

SMOOTHING = 0.1


def loss_of(parts):
    losses = [
        smoothed_cross_entropy(part.hidden_ND, part.weight_VD, part.target_N, smoothing=SMOOTHING)
        for part in parts
    ]
    return sum(loss for loss, _ in losses), sum(nll for _, nll in losses)


def slow_loss_and_gradients(model, masks, sentences, directions, make_batch):
    """Sentence by sentence: a model whose weights are multiplied, its gradients multiplied too."""
    total, gradients = 0.0, {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for sentence in sentences:
        task = str(directions[sentence[0]])
        own = copy.deepcopy(model)
        weights = {
            name: layer.weight
            for name, layer in own.named_modules()
            if isinstance(layer, torch.nn.Linear)
        }
        output = own.output.weight
        with torch.no_grad():
            for name in masks.shapes:
                if name != OUTPUT:
                    weights[name.removesuffix(".weight")].mul_(mask_of(masks, task, name))
        if OUTPUT in masks.shapes:
            output = output.detach().clone().mul_(mask_of(masks, task, OUTPUT)).requires_grad_()
        batch = make_batch([sentence])
        real = batch.target_real_BT
        log_p = (own(batch)[real] @ output.T).log_softmax(-1)
        spread = SMOOTHING / (len(output) - 1)
        right = log_p.gather(-1, batch.target_out_BT[real][:, None]).sum()
        loss = -(1 - SMOOTHING - spread) * right - spread * log_p.sum()
        loss.backward()
        total += loss.item()
        for name, parameter in own.named_parameters():
            if parameter.grad is not None:
                mask = mask_of(masks, task, name) if name in masks.shapes and name != OUTPUT else 1
                gradients[name] += parameter.grad * mask
        if OUTPUT in masks.shapes:
            tied = OUTPUT if OUTPUT in gradients else "decoder_embedding.weight"
            gradients[tied] += output.grad * mask_of(masks, task, OUTPUT)
    return total, gradients


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize(
    ("share_embeddings", "output_projection"),
    [("none", False), ("none", True), ("decoder", False), ("decoder", True), ("all", True)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_and_gradients_are_those_of_each_sentence_with_its_own_multiplied_weights(
    make_model,
    make_weight_masks,
    make_sentences,
    make_batch,
    make_packed,
    directions,
    layout,
    share_embeddings,
    output_projection,
    seed,
):
    model = make_model(seed, dtype=torch.float64, share_embeddings=share_embeddings)
    masks = make_weight_masks(model, seed=seed, output_projection=output_projection)
    sentences = make_sentences(9, seed=seed)
    expected, gradients = slow_loss_and_gradients(model, masks, sentences, directions, make_batch)
    batch = make_batch(sentences) if layout == "padded" else make_packed(sentences, 11)
    weights = DirectionWeights(masks, directions, model=model)
    loss, _ = loss_of(masked_parts(model, weights, batch))
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], rtol=1e-6, atol=1e-6), name


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_masks_that_keep_all_are_the_dense_model(
    make_model, make_sentences, make_batch, make_packed, directions, layout
):
    model, sentences = make_model(), make_sentences(8)
    full = magnitude_masks(maskable_weights(model, output_projection=True), 0)
    masks = WeightMasks.from_masks((str(direction), full) for direction in directions)
    batch = make_batch(sentences) if layout == "padded" else make_packed(sentences, 5)
    hidden = batch.counted(model(batch))
    target = batch.counted(batch.target_out_BT)
    dense, _ = smoothed_cross_entropy(hidden, model.output.weight, target, smoothing=SMOOTHING)
    weights = DirectionWeights(masks, directions, model=model)
    loss, _ = loss_of(masked_parts(model, weights, batch))
    assert loss.item() == pytest.approx(dense.item(), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 99), st.permutations(range(3)))
@torch.no_grad()
def test_rows_are_those_of_the_runs_list_not_of_the_masks(
    make_model, make_weight_masks, make_sentences, make_batch, directions, count, seed, order
):
    model = make_model()
    masks = make_weight_masks(model)
    batch = make_batch(make_sentences(count, seed=seed))
    listed = [directions[row] for row in order]
    weights = DirectionWeights(masks, listed, model=model)
    for row in sorted(set(batch.rows)):
        found = weights(model, row)
        for name, weight in maskable_weights(model).items():
            expected = weight * mask_of(masks, str(listed[row]), name)
            assert torch.equal(found[name], expected)


def test_weights_that_no_direction_of_the_batch_uses_get_no_gradient(
    make_model, make_weight_masks, make_sentences, make_batch, directions
):
    model = make_model()
    masks = make_weight_masks(model, share=0.3)
    sentences = [sentence for sentence in make_sentences(30) if sentence[0] != 1]
    weights = DirectionWeights(masks, directions, model=model)
    loss, _ = loss_of(masked_parts(model, weights, make_batch(sentences)))
    loss.backward()
    for name, weight in maskable_weights(model).items():
        used = mask_of(masks, "en-de", name) | mask_of(masks, "en-fr", name)
        assert not weight.grad[~used].any()
        assert weight.grad[used].any()


def test_one_stack_alone_may_have_masks(
    make_model, make_weight_masks, make_sentences, make_batch, directions
):
    model = make_model()
    masks = make_weight_masks(model, scope="encoder")
    weights = DirectionWeights(masks, directions, model=model)
    assert {name.split(".")[0] for name in weights(model, 0)} == {"encoder"}
    (part,) = masked_parts(model, weights, make_batch([make_sentences(1)[0]]))
    assert part.weight_VD is model.output.weight


@pytest.mark.parametrize("layout", ["padded", "packed"])
@torch.no_grad()
def test_each_part_is_the_pass_of_a_model_with_its_own_weights(
    make_model,
    make_weight_masks,
    make_sentences,
    make_batch,
    make_packed,
    directions,
    layout,
):
    model = make_model()
    masks = make_weight_masks(model)
    sentences = make_sentences(12)
    batch = make_batch(sentences) if layout == "padded" else make_packed(sentences, 5)
    weights = DirectionWeights(masks, directions, model=model)
    for part in masked_parts(model, weights, batch):
        own = copy.deepcopy(model)
        for name, weight in maskable_weights(own).items():
            weight.mul_(mask_of(masks, str(directions[part.batch.rows[0]]), name))
        expected = part.batch.counted(own(part.batch))
        assert torch.allclose(part.hidden_ND, expected, atol=1e-5)
        assert not torch.allclose(expected, part.batch.counted(model(part.batch)), atol=1e-2)


def test_masks_are_no_parameters_and_not_in_the_state(make_model, make_weight_masks, directions):
    model = make_model()
    masks = make_weight_masks(model)
    weights = DirectionWeights(masks, directions, model=model)
    assert not list(weights.parameters())
    assert not weights.state_dict()
    assert weights.packed_TP.numel() == masks.nbytes


def test_masks_of_other_directions_or_models_are_refused(make_model, make_weight_masks, directions):
    model = make_model()
    masks = make_weight_masks(model)
    with pytest.raises(AtlasError, match="'de-fr'"):
        DirectionWeights(masks, [Direction("de", "fr")], model=model)
    with pytest.raises(AtlasError, match="another model"):
        DirectionWeights(masks, directions, model=make_model(d_ff=20))


@pytest.mark.slow
def test_compiled_layers_see_the_masked_weights(
    make_model, make_weight_masks, make_sentences, make_batch, directions
):
    model = make_model()
    weights = DirectionWeights(make_weight_masks(model), directions, model=model)
    batch = make_batch(make_sentences(9))
    found = []
    for _ in range(2):
        model.zero_grad()
        loss, _ = loss_of(masked_parts(model, weights, batch))
        loss.backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        found.append((loss.item(), gradients))
        model.compile_layers(backend="eager")
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(one, other, atol=1e-4)
