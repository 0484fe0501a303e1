"""Other neuron sets than the method's own: random ones, languages', budgets of a whole stack."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.errors import AtlasError
from nsmt.languages import Direction
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.budget import layer_budget
from nsmt.neurons.by_language import factorised, merged
from nsmt.neurons.random_sets import bernoulli, permuted, random_like
from nsmt.neurons.selection import SelectionSettings, StackPercent, select, smallest_prefix
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics

SITES = (Site("encoder", 0, 12), Site("encoder", 1, 12), Site("decoder", 0, 12))
TASKS = ("en-de", "de-en", "en-fr", "fr-en")
LANGUAGES = ("en", "de", "fr")
ALL = [Direction(*pair) for pair in itertools.permutations(LANGUAGES, 2)]
# Neurons of en-de in the first layer, as drawn once.
KNOWN = "101000001011"
tables = st.lists(st.integers(0, 9), min_size=12, max_size=12)


@st.composite
def statistics_of(draw):
    statistics = ActivationStatistics(TASKS, SITES)
    for site in SITES:
        statistics.active[site.name] = torch.tensor([draw(tables) for _ in TASKS])
    return statistics


@settings(max_examples=50)
@given(statistics_of(), st.integers(0, 5))
def test_random_sets_have_the_sizes_of_those_they_control(statistics, seed):
    atlas = select(statistics, SelectionSettings(k=70.0), pivot="en")
    drawn = random_like(atlas, seed=seed)
    for site in SITES:
        assert torch.equal(drawn.masks(site).sum(-1), atlas.masks(site).sum(-1))
    assert drawn == random_like(atlas, seed=seed)


@settings(max_examples=50)
@given(statistics_of(), st.integers(0, 5))
def test_permuted_sets_have_the_sizes_and_overlaps_of_those_they_control(statistics, seed):
    atlas = select(statistics, SelectionSettings(k=70.0), pivot="en")
    drawn = permuted(atlas, seed=seed)
    for site in SITES:
        # The neurons as columns: which tasks each belongs to, and how often that comes.
        own, others = (sorted(each.masks(site).T.tolist()) for each in (atlas, drawn))
        assert own == others
    assert drawn == permuted(atlas, seed=seed)


def test_permutations_are_others_for_other_seeds_and_sites_and_reach_every_neuron():
    one = {site.name: torch.arange(12)[None] == 0 for site in SITES}
    atlas = NeuronAtlas.from_masks(["en-de"], SITES, one)
    places = [
        tuple(int(permuted(atlas, seed=seed).mask("en-de", site).nonzero()) for site in SITES)
        for seed in range(100)
    ]
    assert len(set(places)) > 90
    assert all({place[site] for place in places} == set(range(12)) for site in range(len(SITES)))


def test_random_sets_are_the_same_on_every_machine_and_others_for_other_seeds_and_tasks():
    atlas = bernoulli(TASKS, SITES, rate=0.5, seed=1)
    known = "".join("01"[bit] for bit in atlas.mask("en-de", SITES[0]).tolist())
    assert known == KNOWN
    assert atlas != bernoulli(TASKS, SITES, rate=0.5, seed=2)
    rows = {tuple(row) for site in SITES for row in atlas.masks(site).tolist()}
    assert len(rows) > 10


def test_every_neuron_is_drawn_as_often_as_any_other():
    wide = (Site("encoder", 0, 20_000),)

    def share_of(atlas):
        return atlas.mask("en-de", wide[0]).double().mean().item()

    for rate in (0.0, 0.3, 1.0):
        share = share_of(bernoulli(["en-de"], wide, rate=rate, seed=3))
        assert share == pytest.approx(rate, abs=0.01)
    like = bernoulli(["en-de"], wide, rate=0.3, seed=3)
    both = share_of(like & random_like(like, seed=4))
    assert both == pytest.approx(0.09, abs=0.01)
    with pytest.raises(AtlasError, match="no probability"):
        bernoulli(["en-de"], wide, rate=1.5, seed=0)


@settings(max_examples=50)
@given(statistics_of())
def test_factorised_sets_depend_on_one_language_each_and_cover_all_directions(statistics):
    atlas = factorised(statistics, SelectionSettings(k=80.0), ALL, pivot="en")
    assert atlas.tasks == tuple(map(str, ALL))
    for one, other in itertools.product(ALL, ALL):
        for site in SITES:
            side = "source" if site.stack == "encoder" else "target"
            if getattr(one, side) == getattr(other, side):
                assert torch.equal(atlas.mask(str(one), site), atlas.mask(str(other), site))


# Of the pivot and of others, by stack.
K = {("encoder", True): 50.0, ("encoder", False): 65.0, ("decoder", True): 90.0}
PER_SIDE = SelectionSettings(
    k=75.0,
    from_pivot=StackPercent(encoder=50.0),
    into_pivot=StackPercent(encoder=65.0, decoder=90.0),
)


@settings(max_examples=50)
@given(statistics_of())
def test_factorised_sets_are_the_rules_on_sums_over_directions(statistics):
    atlas = factorised(statistics, PER_SIDE, ALL, pivot="en")
    for direction, site in itertools.product(ALL, SITES):
        place = 0 if site.stack == "encoder" else 1
        language = str(direction).split("-")[place]
        own = [row for row, task in enumerate(TASKS) if task.split("-")[place] == language]
        counts_F = sum(statistics.active[site.name][row] for row in own)
        k = K.get((site.stack, language == "en"), 75.0)
        expected_F = smallest_prefix(counts_F[None], [k])[0]
        assert torch.equal(atlas.mask(str(direction), site), expected_F)


def test_factorised_sets_of_a_language_that_nobody_measured_are_asked_for_by_name():
    with pytest.raises(AtlasError, match="no neurons for 'cs'"):
        factorised(
            ActivationStatistics(TASKS, SITES),
            PER_SIDE,
            [Direction.parse("cs-en")],
            pivot="en",
        )


def test_factorised_sets_are_those_of_the_counts_of_a_language_together():
    statistics = ActivationStatistics(TASKS, SITES)
    for number, site in enumerate(SITES):
        generator = torch.Generator().manual_seed(number)
        statistics.active[site.name] = torch.randint(0, 9, (4, 12), generator=generator)
    chosen = SelectionSettings(
        k=80.0, from_pivot=StackPercent(encoder=50.0), into_pivot=StackPercent(decoder=60.0)
    )
    atlas = factorised(statistics, chosen, ALL, pivot="en")
    encoder, decoder = statistics.active["encoder.0"], statistics.active["decoder.0"]
    expected = smallest_prefix((encoder[0] + encoder[2])[None], [50.0])[0]
    assert torch.equal(atlas.mask("en-fr", SITES[0]), expected)
    expected = smallest_prefix((decoder[1] + decoder[3])[None], [60.0])[0]
    assert torch.equal(atlas.mask("de-en", SITES[2]), expected)
    # German is read in one direction only.
    assert torch.equal(atlas.mask("de-fr", SITES[0]), smallest_prefix(encoder[1:2], [80.0])[0])


@given(statistics_of())
def test_merged_sets_read_as_into_the_pivot_and_write_as_out_of_it(statistics):
    measured = select(statistics, SelectionSettings(k=80.0), pivot="en")
    atlas = merged(measured, ALL, pivot="en")
    for task in TASKS:
        assert all(torch.equal(atlas.mask(task, s), measured.mask(task, s)) for s in SITES)
    for site, half in zip(SITES, ("de-en", "de-en", "en-fr"), strict=True):
        assert torch.equal(atlas.mask("de-fr", site), measured.mask(half, site))


def test_a_language_that_nobody_measured_has_no_sets():
    measured = bernoulli(TASKS, SITES, rate=0.5, seed=0)
    with pytest.raises(AtlasError, match="cs-en"):
        merged(measured, [Direction("cs", "de")], pivot="en")


@pytest.mark.parametrize(
    ("budget", "together"), [("stack", (SITES[:2], SITES[2:])), ("model", (SITES,))]
)
@settings(max_examples=50)
@given(statistics=statistics_of(), k=st.sampled_from([0.0, 50.0, 95.0, 100.0]))
def test_a_budget_takes_the_most_active_neurons_of_what_has_it(statistics, k, budget, together):
    chosen = SelectionSettings(k=k)
    atlas, like = (
        layer_budget(statistics, chosen, pivot="en", budget=budget),
        select(statistics, chosen, pivot="en"),
    )
    for row, sites in itertools.product(range(len(TASKS)), together):
        kept, left, sizes = [], [], []
        for site in sites:
            counts, mask = statistics.active[site.name][row], atlas.masks(site)[row]
            kept += counts[mask].tolist()
            left += counts[~mask].tolist()
            sizes.append(int(like.masks(site)[row].sum()))
        assert len(kept) == sum(sizes)
        assert not kept or not left or min(kept) >= max(left)


def test_a_budget_of_the_model_moves_neurons_to_the_stack_where_they_fire_more_often():
    statistics = ActivationStatistics(TASKS, SITES)
    for site in SITES:
        decoder = site.stack == "decoder"
        # Fewer counts in the decoder, of far fewer tokens.
        statistics.active[site.name] += 5 if decoder else 10
        statistics.units[site.name] += 10 if decoder else 100
    chosen = SelectionSettings(k=50.0)
    kept = {
        budget: [
            sum(int(atlas.masks(site)[0].sum()) for site in SITES if site.stack == stack)
            for stack in ("encoder", "decoder")
        ]
        for budget in ("stack", "model")
        for atlas in [layer_budget(statistics, chosen, pivot="en", budget=budget)]
    }
    assert kept == {"stack": [12, 6], "model": [6, 12]}
