"""Gradients against autograd sentence by sentence, inner products against loops over rows."""

import copy

import numpy as np
import pytest
import torch
from probing_reference import (
    CLASSES,
    class_of,
    slow_gradient,
)

from nsmt.probing.gradients import (
    ALL,
    BOTH,
    NEITHER,
    ONE,
    OTHER_PARAMETERS,
    gradient,
    gradient_products,
    masks_for,
    portions_of,
    total,
)
from nsmt.probing.sentences import samples

TOKENS = 31


@pytest.fixture
def text(make_table, directions):
    tables = {each: make_table(9, seed=row) for row, each in enumerate(directions)}
    order = {each: np.random.default_rng(7).random(9) for each in directions}
    return tables, order


@pytest.fixture
def make_samples(text, make_trained):
    def make(tokens=TOKENS, positions=24):
        return samples(*text, make_trained().vocabulary, tokens=tokens, positions=positions)

    return make


def test_every_direction_has_exactly_so_many_target_tokens(make_samples):
    for sample in make_samples().values():
        assert sample.tokens == TOKENS
        assert sum(len(batch.counted_N) for batch in sample.batches) == TOKENS


def test_a_direction_with_little_text_decides_for_all(make_samples, text):
    smallest = min(int((table.target_lengths + 2).sum()) for table in text[0].values())
    for sample in make_samples(tokens=10**6).values():
        assert sample.tokens == smallest
        assert sum(len(batch.counted_N) for batch in sample.batches) == smallest


def test_sentences_come_in_the_order_given(make_samples, text, directions):
    tables, order = text
    sample = make_samples()[directions[0]]
    rows = np.argsort(order[directions[0]])
    read = [
        row[real].tolist()
        for batch in sample.batches
        for row, real in zip(batch.source_BS, batch.source_real_BS, strict=True)
    ]
    table = tables[directions[0]]
    assert [each[1:-1] for each in read] == [table.source(r).tolist() for r in rows[: len(read)]]


@pytest.mark.parametrize("masked", [False, True])
def test_a_gradient_is_that_of_one_sentence_after_the_other(
    make_trained, make_atlas, make_samples, directions, masked
):
    trained = make_trained()
    trained.atlas = make_atlas(trained.model) if masked else None
    made = make_samples()
    names = [name for name, _ in trained.model.named_parameters()]
    for direction, masks in zip(directions, masks_for(trained, directions), strict=True):
        found = gradient(trained, made[direction], masks, names)
        expected = slow_gradient(trained, direction, made[direction])
        for name in names:
            torch.testing.assert_close(found[name].double(), expected[name], atol=2e-6, rtol=2e-4)


@pytest.mark.parametrize("memory", [3000, 1 << 30])
@pytest.mark.parametrize("masked", [False, True])
def test_products_are_those_of_loops_over_pairs_and_rows(
    make_trained, make_atlas, make_samples, directions, masked, memory
):
    directions = directions[:4]
    trained = make_trained()
    owners = make_atlas(trained.model, seed=3)
    trained.atlas = owners if masked else None
    made = {each: make_samples()[each] for each in directions}
    found = gradient_products(trained, made, owners, memory=memory)
    slow = {each: slow_gradient(trained, each, made[each]) for each in directions}
    for site in trained.model.sites:
        name = f"{site.name}.feed_forward.fc1.weight"
        for part in CLASSES:
            for i, one in enumerate(directions):
                for j, other in enumerate(directions):
                    dot = square = 0.0
                    for row in range(site.width):
                        pair = owners.mask(str(one), site)[row], owners.mask(str(other), site)[row]
                        if class_of(*pair) == part:
                            dot += float(slow[one][name][row] @ slow[other][name][row])
                            square += float(slow[one][name][row] @ slow[one][name][row])
                    products = found[part][site.name]
                    assert products.dot_TT[i, j] == pytest.approx(dot, rel=1e-3, abs=1e-6)
                    assert products.square_TT[i, j] == pytest.approx(square, rel=1e-3, abs=1e-6)
    others = [n for n in slow[directions[0]] if not n.endswith("feed_forward.fc1.weight")]
    flat = {d: torch.cat([slow[d][n].flatten() for n in others]) for d in directions}
    for i, one in enumerate(directions):
        for j, other in enumerate(directions):
            expected = float(flat[one] @ flat[other])
            assert found[OTHER_PARAMETERS][ALL].dot_TT[i, j] == pytest.approx(
                expected, rel=1e-3, abs=1e-6
            )


def test_the_cosine_of_a_direction_with_itself_is_one(make_trained, make_atlas, make_samples):
    trained = make_trained()
    owners = make_atlas(trained.model)
    found = gradient_products(trained, make_samples(), owners, memory=1 << 30)
    for part in (BOTH, NEITHER, OTHER_PARAMETERS):
        for products in found[part].values():
            own = products.cosine().diagonal()
            assert torch.allclose(own, torch.ones_like(own))
    # No row belongs to exactly one of a direction and itself.
    assert all(p.cosine().diagonal().isnan().all() for p in found[ONE].values())


def test_rows_that_a_direction_may_not_use_have_no_gradient(make_trained, make_atlas, make_samples):
    trained = make_trained()
    trained.atlas = make_atlas(trained.model)
    found = gradient_products(trained, make_samples(), trained.atlas, memory=1 << 30)
    assert found[NEITHER][ALL].cosine().isnan().all()
    assert (found[ONE][ALL].dot_TT == 0).all()
    assert (found[ONE][ALL].square_TT.sum(1) > 0).all()


def test_the_parts_sum_to_the_whole_gradient(make_trained, make_atlas, make_samples):
    trained = make_trained()
    split = total(
        gradient_products(trained, make_samples(), make_atlas(trained.model), memory=9999)
    )
    whole = total(gradient_products(trained, make_samples(), None, memory=1 << 30))
    torch.testing.assert_close(split.dot_TT, whole.dot_TT, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("memory", [1, 500, 4000, 1 << 30])
def test_portions_hold_every_parameter_once_within_the_memory(make_trained, memory):
    trained = make_trained()
    seen = {name: [] for name, _ in trained.model.named_parameters()}
    for portions in portions_of(trained, directions=3, memory=memory):
        assert len(portions) == 1 or sum(p.numbers for p in portions) * 3 * 4 <= memory
        for portion in portions:
            seen[portion.name].extend(range(portion.start, portion.stop))
    for name, parameter in trained.model.named_parameters():
        assert seen[name] == list(range(len(parameter)))


def test_weights_are_left_alone(make_trained, make_atlas, make_samples, bits):
    trained = make_trained()
    before = copy.deepcopy(bits(trained.model))
    gradient_products(trained, make_samples(), make_atlas(trained.model), memory=4000)
    assert bits(trained.model) == before
