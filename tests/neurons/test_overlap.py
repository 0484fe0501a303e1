import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import (
    chance_iou,
    iou_between,
    iou_matrix,
    pair_values,
    shares,
    site_iou,
    varying_tasks,
    whole_iou,
)
from nsmt.neurons.sites import Site

mask_rows = st.integers(1, 20).flatmap(
    lambda width: st.lists(
        st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=5
    )
)


def atlas_of(masks_TF, tasks=None):
    site = Site("encoder", 0, masks_TF.shape[1])
    tasks = tasks or [f"task-{row}" for row in range(len(masks_TF))]
    return NeuronAtlas.from_masks(tasks, [site], {site.name: masks_TF}), site


@settings(max_examples=150, deadline=None)
@given(mask_rows)
def test_iou_equals_that_of_python_sets(rows):
    found = iou_matrix(torch.tensor(rows))
    members = [{neuron for neuron, kept in enumerate(row) if kept} for row in rows]
    for a, b in itertools.product(range(len(rows)), repeat=2):
        union = members[a] | members[b]
        expected = len(members[a] & members[b]) / len(union) if union else 1.0
        assert found[a, b].item() == pytest.approx(expected, abs=1e-12)


def test_two_empty_sets_are_equal_and_an_empty_one_shares_nothing():
    masks = torch.tensor([[False, False], [False, False], [True, False]])
    assert iou_matrix(masks).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_sets_are_compared_with_one_other():
    whole = torch.tensor([[True, True, False, True]])
    sets = torch.tensor([[True, True, False, True], [True, False, True, False], [False] * 4])
    assert iou_between(sets, whole).tolist() == [[1.0], [0.25], [0.0]]
    assert iou_between(sets[2:], sets[2:]).tolist() == [[1.0]]


def test_overlap_over_all_sites_is_that_of_their_neurons_side_by_side():
    sites = [Site("decoder", layer, 2) for layer in (0, 1)]
    masks = {"decoder.0": [[1, 1], [1, 0], [0, 0]], "decoder.1": [[0, 0], [0, 1], [0, 0]]}
    made = {name: torch.tensor(rows).bool() for name, rows in masks.items()}
    found = whole_iou(NeuronAtlas.from_masks(["a", "b", "c"], sites, made))
    assert found.tolist() == [[1, pytest.approx(1 / 3), 0], [pytest.approx(1 / 3), 1, 0], [0, 0, 1]]


def test_site_overlap_follows_the_order_of_the_tasks_asked_for():
    masks = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    atlas, site = atlas_of(masks)
    found = site_iou(atlas, ["task-2", "task-0"], site)
    assert found.tolist() == [[1.0, 0.5], [0.5, 1.0]]


def test_pair_values_are_those_above_the_diagonal():
    matrix = torch.arange(9.0).reshape(3, 3)
    assert pair_values(matrix).tolist() == [1, 2, 5]
    assert pair_values(matrix[:1, :1]).tolist() == []


@pytest.mark.parametrize("kept", [(0.2, 0.2), (0.5, 0.9), (1.0, 0.3), (0.6, 0.0)])
def test_chance_overlap_is_close_to_the_mean_of_random_sets(kept):
    width, repeats = 400, 200
    generator = torch.Generator().manual_seed(5)
    sizes = [round(share * width) for share in kept]

    def random_masks():
        masks = torch.zeros(2, width, dtype=torch.bool)
        for row, size in enumerate(sizes):
            masks[row, torch.randperm(width, generator=generator)[:size]] = True
        return masks

    observed = sum(iou_matrix(random_masks())[0, 1].item() for _ in range(repeats)) / repeats
    atlas, site = atlas_of(random_masks())
    assert chance_iou(atlas, atlas.tasks, site) == pytest.approx(observed, abs=0.004)


def test_chance_overlap_of_empty_sets_is_that_of_equal_sets():
    atlas, site = atlas_of(torch.zeros(3, 10, dtype=torch.bool))
    assert chance_iou(atlas, atlas.tasks, site) == 1.0


def test_chance_overlap_of_one_task_is_not_a_number():
    atlas, site = atlas_of(torch.ones(1, 10, dtype=torch.bool))
    assert math.isnan(chance_iou(atlas, atlas.tasks, site))


def test_encoders_are_compared_into_the_pivot_and_decoders_out_of_it():
    tasks = ["en-de", "de-en", "de-fr", "fr-en", "en-fr"]
    assert varying_tasks(tasks, "encoder", pivot="en") == ["de-en", "fr-en"]
    assert varying_tasks(tasks, "decoder", pivot="en") == ["en-de", "en-fr"]


def test_shares_of_a_stack_are_those_of_each_site_pair_and_mask():
    sites = (Site("encoder", 0, 12), Site("encoder", 1, 9), Site("decoder", 0, 12))
    tasks = ("en-de", "de-en", "fr-en", "en-fr", "nl-en", "de-fr")
    generator = torch.Generator().manual_seed(2)
    masks = {s.name: torch.rand(len(tasks), s.width, generator=generator) < 0.6 for s in sites}
    atlas = NeuronAtlas.from_masks(tasks, sites, masks)
    found = shares(atlas, pivot="en")
    assert {stack: each.tasks for stack, each in found.items()} == {
        "encoder": ("de-en", "fr-en", "nl-en"),
        "decoder": ("en-de", "en-fr"),
    }
    for stack, each in found.items():
        assert each.sites == atlas.stack(stack)
        for layer, site in enumerate(each.sites):
            sets = [set(atlas.mask(task, site).nonzero().flatten().tolist()) for task in each.tasks]
            pairs = [len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2)]
            assert each.pairs[layer] == pytest.approx(pairs)
            assert each.chance[layer] == chance_iou(atlas, each.tasks, site)
            masked = {
                "en→X": masks[site.name][[0, 3]],
                "X→en": masks[site.name][[1, 2, 4]],
                "zero-shot": masks[site.name][[5]],
            }
            shown = {name: of_layer[layer] for name, of_layer in each.masked.items()}
            expected = {name: 1 - own.double().mean().item() for name, own in masked.items()}
            assert shown == pytest.approx(expected)
    assert "zero-shot" not in shares(atlas.select(tasks[:3]), pivot="en")["encoder"].masked
