from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nsmt.errors import AtlasError
from nsmt.neurons.selection import (
    SelectionSettings,
    StackPercent,
    cumulative,
    select,
    smallest_prefix,
)
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics, CountRule

ENCODER, DECODER = Site("encoder", 0, 6), Site("decoder", 0, 6)

small = st.integers(0, 5)
past_float32 = st.integers(2**24 - 3, 2**24 + 3)
past_float64 = st.integers(2**53 - 3, 2**53 + 3)
count_vectors = st.one_of(
    st.lists(small, min_size=1, max_size=24),
    st.lists(st.just(0), min_size=1, max_size=8),
    st.lists(st.one_of(small, past_float32), min_size=1, max_size=16),
    st.lists(st.one_of(small, past_float64), min_size=1, max_size=16),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=16),
)
percents = st.one_of(
    st.sampled_from([0.0, 100.0, 95.0, 97.3, 50.0, 33.3, 1e-7, 99.999999]),
    st.integers(0, 1000).map(lambda tenths: tenths / 10),
    st.floats(0, 100, allow_nan=False),
)


def oracle(counts: list[int], percent: float) -> list[bool]:
    """Take neurons one at a time, the most active first, until k percent are covered."""
    target = Fraction(str(percent)) / 100 * sum(counts)
    chosen, covered = set(), 0
    while covered < target:
        best = None
        for neuron, count in enumerate(counts):
            if neuron not in chosen and (best is None or count > counts[best]):
                best = neuron
        chosen.add(best)
        covered += counts[best]
    return [neuron in chosen for neuron in range(len(counts))]


def prefix(counts: list[int], percent: float) -> list[bool]:
    return smallest_prefix(torch.tensor([counts]), [percent])[0].tolist()


@settings(max_examples=800, deadline=None)
@given(count_vectors, percents)
def test_smallest_prefix_equals_a_pure_python_oracle(counts, percent):
    assert prefix(counts, percent) == oracle(counts, percent)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(small, min_size=5, max_size=5), min_size=1, max_size=6), st.data())
def test_every_row_is_selected_with_its_own_percentage(rows, data):
    chosen = [data.draw(percents) for _ in rows]
    expected = [oracle(row, percent) for row, percent in zip(rows, chosen, strict=True)]
    assert smallest_prefix(torch.tensor(rows), chosen).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(count_vectors)
def test_no_percent_selects_nothing_and_all_percent_selects_what_fired(counts):
    assert not any(prefix(counts, 0))
    assert prefix(counts, 100) == [count > 0 for count in counts]


@settings(max_examples=100, deadline=None)
@given(count_vectors, percents, percents)
def test_a_larger_percentage_only_adds_neurons(counts, one, other):
    fewer, more = (prefix(counts, each) for each in sorted((one, other)))
    assert all(b for a, b in zip(fewer, more, strict=True) if a)


@pytest.mark.parametrize("percent", [0.0, 50.0, 95.0, 100.0])
def test_neurons_that_never_fired_are_never_selected(percent):
    assert not any(prefix([0] * 9, percent))


def test_of_equally_active_neurons_the_lower_index_is_taken_first():
    assert prefix([3, 5, 3, 3, 5], 60) == [True, True, False, False, True]
    assert prefix([1] * 64, 50) == [True] * 32 + [False] * 32


def test_reaching_the_percentage_exactly_is_enough():
    assert prefix([95, 5], 95) == [True, False]
    assert prefix([94, 6], 95) == [True, True]
    # 90.2 as a binary fraction is a little more than 90.2: the decimal text is what counts.
    assert Fraction(90.2) > Fraction("90.2")
    assert prefix([902, 98], 90.2) == [True, False]


def test_totals_past_float32_do_not_stop_the_sum_early():
    counts = [2**24] + [1] * 99
    assert sum(prefix(counts, 100)) == 100


def test_totals_past_float64_are_exact():
    assert prefix([2**53, 1, 1], 100) == [True, True, True]
    assert prefix([2**60, 2**60 + 1], 50) == oracle([2**60, 2**60 + 1], 50)


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), float("inf")])
def test_a_percentage_out_of_range_is_refused(percent):
    with pytest.raises(AtlasError, match="not a percentage"):
        smallest_prefix(torch.ones(1, 3, dtype=torch.int64), [percent])
    for place in ("k", "from_pivot", "into_pivot"):
        value = percent if place == "k" else {"encoder": percent}
        with pytest.raises(ValidationError, match=place):
            SelectionSettings.model_validate({place: value})


@pytest.mark.parametrize("counts", [torch.ones(1, 3), torch.tensor([[1, -1]])])
def test_counts_that_are_no_counts_are_refused(counts):
    with pytest.raises(AtlasError, match="non-negative int64"):
        smallest_prefix(counts, [50.0])


def test_one_percentage_a_row_is_needed():
    with pytest.raises(ValueError, match="zip"):
        smallest_prefix(torch.ones(2, 3, dtype=torch.int64), [50.0])


FOUR = SelectionSettings(
    k=9.0,
    from_pivot=StackPercent(encoder=1.0, decoder=2.0),
    into_pivot=StackPercent(encoder=3.0, decoder=4.0),
)


@pytest.mark.parametrize(
    ("task", "encoder", "decoder"),
    [("en-de", 1.0, 2.0), ("de-en", 3.0, 4.0), ("de-fr", 3.0, 2.0)],
    ids=["from pivot", "into pivot", "zero-shot: encoder of de-en, decoder of en-fr"],
)
def test_percentages_follow_the_group_of_the_direction_and_the_stack(task, encoder, decoder):
    assert FOUR.percent(task, ENCODER, pivot="en") == encoder
    assert FOUR.percent(task, DECODER, pivot="en") == decoder


def test_a_stack_without_its_own_percentage_takes_the_common_one():
    chosen = SelectionSettings(k=80.0, from_pivot=StackPercent(encoder=0.0))
    assert chosen.percent("en-de", ENCODER, pivot="en") == 0.0
    assert chosen.percent("en-de", DECODER, pivot="en") == 80.0
    assert chosen.percent("de-en", ENCODER, pivot="en") == 80.0
    assert SelectionSettings().percent("de-en", DECODER, pivot="en") == 95.0


def test_the_count_rule_follows_the_settings():
    chosen = SelectionSettings(count_unit="sentence_union", count_padding=True)
    assert chosen.count_rule == CountRule("sentence_union", count_padding=True)


def test_selecting_applies_each_directions_percentage_and_keeps_provenance():
    statistics = ActivationStatistics(
        ["en-de", "de-en"], [ENCODER, DECODER], provenance={"model": "abc"}
    )
    for site in (ENCODER, DECODER):
        statistics.active[site.name][:] = torch.tensor([5, 50, 0, 30, 10, 5])
    chosen = SelectionSettings(k=50.0, into_pivot=StackPercent(decoder=100.0))
    atlas = select(statistics, chosen, pivot="en")
    assert atlas.tasks == ("en-de", "de-en")
    assert atlas.mask("en-de", DECODER).nonzero()[:, 0].tolist() == [1]
    assert atlas.mask("de-en", ENCODER).nonzero()[:, 0].tolist() == [1]
    assert atlas.mask("de-en", DECODER).nonzero()[:, 0].tolist() == [0, 1, 3, 4, 5]
    assert atlas.provenance["rule"] == "cumulative"
    assert atlas.provenance["statistics"] == {"model": "abc"}
    assert atlas.provenance["selection"]["k"] == 50.0
    assert atlas.provenance["pivot"] == "en"


def test_selection_leaves_the_counts_as_they_were():
    statistics = ActivationStatistics(["en-de"], [ENCODER])
    statistics.active[ENCODER.name][0] = torch.arange(6)
    cumulative(statistics, lambda _task, _site: 50.0)
    assert statistics.active[ENCODER.name][0].tolist() == list(range(6))
