"""What updates the plan makes: shares, seeds, positions, windows, curricula."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_plans import epoch_of, longest_side, plan_like, plans, tables_like
from pydantic import ValidationError

from nsmt.data import plan as plan_module
from nsmt.data.plan import BatchSettings
from nsmt.data.sampling import exact_counts, proportions
from nsmt.data.settings import MixSettings
from nsmt.errors import ConfigurationError


@pytest.fixture
def small_windows(monkeypatch):
    """Several windows an epoch, though the tables are tiny."""
    monkeypatch.setattr(plan_module, "_WINDOW_SENTENCES", 30)
    monkeypatch.setattr(plan_module, "_WINDOW_UPDATES", 1)


def readable(update):
    batches = [
        tuple(zip(each.direction.tolist(), each.row.tolist(), strict=True))
        for each in update.batches
    ]
    return update.position, batches, update.target_tokens


def first(plan, count, start=None):
    return [readable(update) for update in itertools.islice(plan.updates(start), count)]


@settings(max_examples=40, deadline=None)
@given(plans)
def test_micro_batches_stay_within_the_token_limit(shape):
    sizes, tokens, temperature, seed = shape
    tables = tables_like(sizes, seed)
    plan = plan_like(tables, tokens=tokens, per_update=1, temperature=temperature, seed=seed)
    for update in epoch_of(plan, 0):
        for planned in update.batches:
            assert len(planned.row) * longest_side(tables, planned) <= tokens


@settings(max_examples=40, deadline=None)
@given(plans, st.integers(0, 3))
def test_an_epoch_draws_each_direction_as_often_as_its_share(shape, epoch):
    sizes, tokens, temperature, seed = shape
    tables = tables_like(sizes, seed)
    plan = plan_like(tables, tokens=tokens, per_update=1, temperature=temperature, seed=seed)
    drawn = Counter(
        direction
        for update in epoch_of(plan, epoch)
        for planned in update.batches
        for direction in planned.direction.tolist()
    )
    share = proportions(np.array(sizes), temperature=temperature)
    expected = exact_counts(share, sum(sizes)).tolist()
    assert [drawn[row] for row in range(len(sizes))] == expected


def test_across_epochs_no_sentence_comes_twice_more_than_another():
    tables = tables_like([60, 20, 7])
    plan = plan_like(tables, per_update=1, temperature=5.0)
    seen = Counter()
    for epoch in range(5):
        for update in epoch_of(plan, epoch):
            for planned in update.batches:
                seen.update(zip(planned.direction.tolist(), planned.row.tolist(), strict=True))
        for row, table in enumerate(tables.values()):
            often = [seen[row, sentence] for sentence in range(len(table))]
            assert max(often) - min(often) <= 1


def test_the_plan_is_the_same_for_a_seed_and_another_for_another():
    tables = tables_like([60, 50, 40])
    expected = first(plan_like(tables), 30)
    assert first(plan_like(tables), 30) == expected
    assert first(plan_like(tables, seed=4), 30) != expected


def test_the_sentences_of_a_direction_do_not_depend_on_which_others_train_with_it():
    tables = tables_like([40, 40, 40])
    one = dict(list(tables.items())[:1])
    drawn = []
    for each in (tables, one):
        updates = epoch_of(plan_like(each, per_update=1), 0)
        drawn.append(
            {
                row
                for update in updates
                for planned in update.batches
                for direction, row in zip(planned.direction, planned.row, strict=True)
                if direction == 0
            }
        )
    assert drawn[0] == drawn[1]


def test_epochs_differ():
    plan = plan_like(tables_like([60, 50, 40]))
    assert [readable(u)[1] for u in epoch_of(plan, 0)] != [
        readable(u)[1] for u in epoch_of(plan, 1)
    ]


CURRICULUM = (
    MixSettings(updates=3, directions=("en-de",)),
    MixSettings(updates=5, weights={"fr-en": 3.0}),
    MixSettings(temperature=5.0),
)


@pytest.mark.usefixtures("small_windows")
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 40), st.integers(0, 5), st.sampled_from([(), CURRICULUM]))
def test_starting_at_a_position_equals_skipping_to_it(skipped, seed, curriculum):
    plan = plan_like(tables_like([60, 50, 40]), seed=seed, curriculum=curriculum)
    whole = first(plan, skipped + 5)
    assert first(plan, 5, whole[skipped][0]) == whole[skipped:]


@pytest.mark.usefixtures("small_windows")
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plans, st.integers(0, 2), st.integers(1, 2))
def test_windows_leave_nothing_out_and_fill_every_update(shape, epoch, per_update):
    sizes, _, temperature, seed = shape
    plan = plan_like(
        tables_like(sizes, seed), tokens=40, per_update=per_update, temperature=temperature
    )
    updates = epoch_of(plan, epoch)
    assert {len(update.batches) for update in updates} == {per_update}
    assert [update.position.done for update in updates] == list(range(len(updates)))
    planned = sum(len(b.row) for update in updates for b in update.batches)
    # A handful of sentences may be too few to make the number of batches a multiple.
    assert planned == sum(sizes) or sum(sizes) < 12
    if sum(sizes) > 60:
        assert updates[-1].position.window > 0


@pytest.mark.usefixtures("small_windows")
def test_every_window_has_the_share_of_each_direction():
    plan = plan_like(tables_like([300, 200, 100]), per_update=1)
    windows = Counter()
    for update in epoch_of(plan, 0):
        for planned in update.batches:
            windows.update((update.position.window, d) for d in planned.direction.tolist())
    last = max(window for window, _ in windows)
    assert last > 3
    for window in range(last + 1):
        found = np.array([windows[window, direction] for direction in range(3)])
        assert np.abs(found - np.array([300, 200, 100]) / (last + 1)).max() <= 1


def test_a_curriculum_takes_its_mixes_one_after_the_other():
    plan = plan_like(tables_like([60, 50, 40]), curriculum=CURRICULUM)
    updates = list(itertools.islice(plan.updates(), 20))
    assert [update.position.mix for update in updates[:9]] == [0] * 3 + [1] * 5 + [2]
    for update in updates[:3]:
        assert {d for planned in update.batches for d in planned.direction.tolist()} == {0}
    sizes = np.array([60, 50, 40])
    weighted = plan_like(tables_like([60, 50, 40]), per_update=1, curriculum=CURRICULUM[1:2])
    drawn = Counter(
        d
        for update in itertools.islice(weighted.updates(), 5)
        for planned in update.batches
        for d in planned.direction.tolist()
    )
    assert drawn[2] > drawn[0]
    share = proportions(sizes, temperature=1.0, weights=np.array([1.0, 1.0, 3.0]))
    assert share == pytest.approx(np.array([60, 50, 120]) / 230)


@pytest.mark.parametrize("homogeneous", [False, True])
@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_few_sentences_are_split_up_until_there_is_an_update(layout, homogeneous):
    how = {"layout": layout, "homogeneous": homogeneous}
    (update,) = epoch_of(plan_like(tables_like([5]), tokens=1000, per_update=4, **how), 0)
    rows = sorted(row for batch in update.batches for row in batch.row.tolist())
    assert (len(update.batches), rows) == (4, [0, 1, 2, 3, 4])


def test_more_micro_batches_an_update_than_an_epoch_has_sentences_is_an_error():
    plan = plan_like(tables_like([5]), tokens=1000, per_update=6)
    with pytest.raises(ConfigurationError, match=r"has 5 sentences.*\n.*per_update to 5"):
        epoch_of(plan, 0)


@pytest.mark.parametrize("change", [{"tokens": 7}, {"per_update": 0}, {"size": 3}])
def test_batch_settings_that_cannot_be_are_refused(change):
    with pytest.raises(ValidationError):
        BatchSettings(**change)
