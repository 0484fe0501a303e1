"""Which weights a direction keeps: the rule, bits, files, overlap, and what they cost."""

import json
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from weight_masks_read import mask_of

from nsmt.errors import AtlasError
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.models.weight_masks import (
    OUTPUT,
    WeightMasks,
    kept_count,
    magnitude_masks,
    maskable_weights,
)

TASKS = ("en-de", "de-en", "en-fr")
SHAPES = {"encoder.0.feed_forward.fc1.weight": (5, 3), "decoder.0.attention.key.weight": (4, 4)}
GIB = 2**30

rates = st.one_of(
    st.sampled_from([0, 1, 0.0, 1.0, 0.1, 0.3, 0.7, 1 / 3]),
    st.floats(0, 1),
    st.fractions(0, 1, max_denominator=50),
)
# Few values, of both signs: most magnitudes are equal to others.
matrices = st.integers(1, 6).flatmap(
    lambda columns: st.lists(
        st.lists(
            st.one_of(
                st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0]), st.floats(-9, 9, width=32)
            ),
            min_size=columns,
            max_size=columns,
        ),
        min_size=1,
        max_size=6,
    )
)


def largest_slowly(matrix, rate):
    """By sorting pairs of magnitude and index, with whole numbers alone."""
    flat = [abs(value) for row in matrix for value in row]
    share = rate if isinstance(rate, Fraction) else Fraction(str(rate))
    count = -((share - 1) * len(flat) // 1)
    order = sorted(range(len(flat)), key=lambda place: (-flat[place], place))
    return [place in order[:count] for place in range(len(flat))]


@settings(max_examples=300, deadline=None)
@given(matrices, rates)
def test_exactly_the_largest_magnitudes_of_a_matrix_are_kept(matrix, rate):
    found = magnitude_masks({"a": torch.tensor(matrix)}, rate)["a"]
    assert found.shape == (len(matrix), len(matrix[0]))
    assert found.flatten().tolist() == largest_slowly(matrix, rate)
    assert int(found.sum()) == kept_count(found.numel(), rate)


@settings(max_examples=50, deadline=None)
@given(st.lists(matrices, min_size=1, max_size=3), rates)
def test_every_matrix_is_pruned_by_itself(several, rate):
    weights = {str(place): torch.tensor(matrix) for place, matrix in enumerate(several)}
    together = magnitude_masks(weights, rate)
    for name, weight in weights.items():
        assert torch.equal(together[name], magnitude_masks({name: weight}, rate)[name])


@pytest.mark.parametrize(
    ("size", "rate", "kept"),
    [
        (10, 0.7, 3),
        (10, 0.9, 1),  # (1 - 0.9)·10 is above 1 in floats
        (1000, 0.999, 1),
        (10, 0.71, 3),
        (3, Fraction(1, 3), 2),
        (10, 0.1 + 0.2, 7),  # 0.30000000000000004 drops two and a little: ⌈6.9…⌉
        (7, 0, 7),
        (7, 1, 0),
    ],
)
def test_the_number_kept_is_counted_exactly(size, rate, kept):
    assert kept_count(size, rate) == kept


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("inf")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError):  # noqa: PT011 -- inf is refused by Fraction
        kept_count(10, rate)


def test_rate_zero_keeps_all_and_rate_one_nothing():
    weights = {"a": torch.zeros(3, 5)}
    assert magnitude_masks(weights, 0)["a"].all()
    assert not magnitude_masks(weights, 1)["a"].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_of_numbers_are_pruned_by_the_same_rule(dtype):
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = magnitude_masks({"a": weight}, 0.7)["a"]
    assert found.flatten().tolist() == largest_slowly(weight.double().tolist(), 0.7)


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(AtlasError, match="a holds values that are no numbers"):
        magnitude_masks({"a": torch.tensor([[1.0, math.nan]])}, 0.5)


def test_all_projections_and_feed_forward_weights_of_both_stacks_have_masks(make_model):
    names = set(maskable_weights(make_model()))
    attention = ("query", "key", "value", "output")
    expected = {
        f"{stack}.{depth}.{part}.weight"
        for stack, parts in {
            "encoder": [*(f"attention.{each}" for each in attention)],
            "decoder": [
                *(
                    f"{kind}.{each}"
                    for kind in ("attention", "cross_attention")
                    for each in attention
                )
            ],
        }.items()
        for depth in range(2)
        for part in (*parts, "feed_forward.fc1", "feed_forward.fc2")
    }
    assert names == expected


@pytest.mark.parametrize("share", ["none", "decoder", "all"])
def test_the_output_projection_has_masks_on_request_and_counts_to_the_decoder(make_model, share):
    model = make_model(share_embeddings=share)
    of = {
        scope: maskable_weights(model, scope=scope, output_projection=True)
        for scope in ("encoder", "decoder", "all")
    }
    assert of["all"].keys() == of["encoder"].keys() | of["decoder"].keys()
    assert {name.split(".")[0] for name in of["encoder"]} == {"encoder"}
    assert {name.split(".")[0] for name in of["decoder"]} == {"decoder", "output"}
    assert of["all"][OUTPUT] is model.output.weight
    assert OUTPUT not in maskable_weights(model, scope="decoder")


def random_masks(seed=0, tasks=TASKS, shapes=None, share=0.5):
    generator = torch.Generator().manual_seed(seed)
    return {
        task: {
            name: torch.rand(shape, generator=generator) < share
            for name, shape in (shapes or SHAPES).items()
        }
        for task in tasks
    }


def masks_like(seed=0, **shape):
    found = random_masks(seed, **shape)
    return WeightMasks.from_masks(found.items(), provenance={"rate": 0.7})


shapes_of = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3).map(
    lambda shapes: {f"encoder.{place}": shape for place, shape in enumerate(shapes)}
)


@settings(max_examples=60, deadline=None)
@given(shapes_of, st.integers(0, 999), st.sampled_from([0.0, 0.3, 1.0]))
def test_bits_hold_the_masks(shapes, seed, share):
    given_masks = random_masks(seed, shapes=shapes, share=share)
    masks = WeightMasks.from_masks(given_masks.items())
    for task, own in given_masks.items():
        assert all(torch.equal(mask_of(masks, task, name), own[name]) for name in shapes)
    assert masks.nbytes == sum(3 * -(-math.prod(shape) // 8) for shape in shapes.values())


def test_directions_are_known_by_name_wherever_they_stand():
    masks = masks_like()
    chosen = masks.select(["en-fr", "en-de"])
    for task in chosen.tasks:
        for name in SHAPES:
            assert torch.equal(mask_of(chosen, task, name), mask_of(masks, task, name))
    for ask in (masks.row, lambda task: masks.select([task])):
        with pytest.raises(AtlasError, match="for 'de-fr'\n  fix: use one of en-de, de-en, en-fr"):
            ask("de-fr")


def test_saving_and_loading_gives_the_masks_back(tmp_path):
    masks = masks_like()
    masks.save(tmp_path / "masks")
    loaded = WeightMasks.load(tmp_path / "masks")
    assert loaded == masks
    assert loaded.fingerprint == masks.fingerprint
    assert loaded.provenance == {"rate": 0.7}
    assert loaded != masks_like(seed=1)
    assert loaded.fingerprint != masks_like(seed=1).fingerprint


def test_masks_of_unequal_models_do_not_go_together():
    other = random_masks(shapes={"encoder.0.feed_forward.fc1.weight": (5, 4)})
    pairs = [("en-de", random_masks()["en-de"]), ("de-en", other["de-en"])]
    with pytest.raises(AtlasError, match="de-en are of other weights than those of en-de"):
        WeightMasks.from_masks(pairs)
    with pytest.raises(AtlasError, match="named twice"):
        WeightMasks.from_masks([pairs[0], pairs[0]])


def test_masks_of_another_model_are_refused(make_model):
    model = make_model()
    own = {
        name: torch.ones_like(w, dtype=torch.bool) for name, w in maskable_weights(model).items()
    }
    WeightMasks.from_masks([("en-de", own)]).require_fit(model)
    for wrong in (make_model(d_ff=20), make_model(encoder_layers=1)):
        with pytest.raises(AtlasError, match="belong to another model"):
            WeightMasks.from_masks([("en-de", own)]).require_fit(wrong)


def test_a_file_cut_short_or_missing_is_refused(tmp_path):
    path = tmp_path / "masks"
    with pytest.raises(AtlasError, match="masks"):
        WeightMasks.load(path)
    masks_like().save(path)
    whole = path.read_bytes()
    for length in (0, 4, 9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(AtlasError, match="masks cannot be read"):
            WeightMasks.load(path)


def rewritten(path, change_header=lambda header: None, change=lambda tensors: None):
    masks_like().save(path)
    tensors = load_file(path)
    header = {
        "format": "nsmt.weight_masks",
        "version": 1,
        "tasks": TASKS,
        "provenance": {},
        "weights": [[name, list(shape)] for name, shape in SHAPES.items()],
    }
    change_header(header)
    change(tensors)
    save_file(tensors, path, metadata={"nsmt": json.dumps(header)})
    return path


FIRST = next(iter(SHAPES))


@pytest.mark.parametrize(
    ("change_header", "change", "said"),
    [
        (lambda h: h.pop("tasks"), None, "damaged"),
        (lambda h: h.pop("weights"), None, "damaged"),
        (lambda h: h.update(version=2), None, "version 2"),
        (lambda h: h.update(format="nsmt.neuron_atlas"), None, "not nsmt.weight_masks"),
        (lambda h: h.update(tasks=["en-de"]), None, "of shape"),
        (lambda h: h.update(tasks=["en-de"] * 3), None, "twice"),
        (lambda h: h["weights"].pop(), None, "alone"),
        (lambda h: h["weights"][0].__setitem__(1, [50, 3]), None, "of shape"),
        (None, lambda t: t.pop(FIRST), "alone"),
        (None, lambda t: t.update({FIRST: t[FIRST].to(torch.int32)}), "int32"),
        (None, lambda t: t[FIRST].fill_(255), "behind its last"),
    ],
)
def test_a_file_that_does_not_hold_masks_is_refused(tmp_path, change_header, change, said):
    nothing = lambda _: None  # noqa: E731
    path = rewritten(tmp_path / "masks", change_header or nothing, change or nothing)
    with pytest.raises(AtlasError, match=said):
        WeightMasks.load(path)


def test_an_unchanged_header_is_read(tmp_path):
    assert WeightMasks.load(rewritten(tmp_path / "masks")) == masks_like()


def test_what_is_masked_of_the_papers_large_model_are_its_9_844_gib():
    # EC30: 6+6 layers of 1024/4096, 60 directions; Table 3 has 9.84 GB, a byte a weight.
    settings_ = ModelSettings(encoder_layers=6, decoder_layers=6, d_model=1024, d_ff=4096, heads=16)
    with torch.device("meta"):
        model = Transformer(settings_, vocabulary_size=128_035, pad=0)
    weights = maskable_weights(model)
    assert sum(each.numel() for each in weights.values()) == 176_160_768
    assert pytest.approx(9.844, abs=5e-4) == 60 * 176_160_768 / GIB


def test_the_file_takes_what_the_bits_take(tmp_path):
    masks = masks_like()
    assert masks.nbytes == 3 * (2 + 2)
    masks.save(tmp_path / "masks")
    assert masks.nbytes < (tmp_path / "masks").stat().st_size < masks.nbytes + 2000
