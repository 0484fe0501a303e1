import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nsmt.data import plan as plan_module
from nsmt.data.batch import SequenceFormat
from nsmt.data.corpus import TokenColumn, TokenTable
from nsmt.data.datamodule import PlannedSlice, PlannedUpdates, TableReader, TranslationData
from nsmt.data.plan import BatchSettings, Position, TrainingPlan, in_order
from nsmt.data.sampling import exact_counts, proportions
from nsmt.data.settings import MixSettings
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction

SEQUENCES = SequenceFormat(pad=0, eos=2, tags={"en": 4, "de": 5, "fr": 6})
NAMES = ("en-de", "de-en", "fr-en")


def column_like(lengths, rng):
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return TokenColumn(rng.integers(7, 90, offsets[-1]).astype(np.uint16), offsets)


def tables_like(sizes, seed=0, longest=12):
    rng = np.random.default_rng(seed)
    return {
        Direction.parse(name): TokenTable(
            column_like(rng.integers(1, longest + 1, size), rng),
            column_like(rng.integers(1, longest + 1, size), rng),
        )
        for name, size in zip(NAMES, sizes, strict=False)
    }


def plan_like(
    tables, *, tokens=64, per_update=4, temperature=1.0, seed=3, curriculum=(), layout="padded"
):
    return TrainingPlan(
        tables,
        batch=BatchSettings(tokens=tokens, per_update=per_update, layout=layout),
        temperature=temperature,
        seed=seed,
        curriculum=curriculum,
    )


def epoch_of(plan, epoch):
    """The updates of an epoch, whatever came before it."""
    start = Position(epoch=epoch)
    return list(itertools.takewhile(lambda u: u.position.epoch == epoch, plan.updates(start)))


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


def longest_side(tables, planned):
    own = list(tables.values())
    return max(
        max(len(own[direction].source(row)), len(own[direction].target(row))) + 2
        for direction, row in zip(planned.direction, planned.row, strict=True)
    )


plans = st.tuples(
    st.lists(st.integers(5, 60), min_size=1, max_size=3),
    st.sampled_from([14, 40, 100, 1000]),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.integers(0, 1000),
)


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


def test_more_micro_batches_an_update_than_an_epoch_has_is_an_error():
    plan = plan_like(tables_like([5]), tokens=1000, per_update=2)
    with pytest.raises(ConfigurationError, match=r"has 1 micro-batches.*\n.*per_update to 1"):
        epoch_of(plan, 0)


def test_micro_batches_mix_directions():
    # Sentences of one length: only the random order among equals can mix them.
    plan = plan_like(tables_like([100, 100, 100], longest=1), tokens=30, per_update=1)
    batches = [planned for update in epoch_of(plan, 0) for planned in update.batches]
    mixed = sum(len(set(planned.direction.tolist())) > 1 for planned in batches)
    assert mixed > 0.9 * len(batches)


def test_micro_batches_hold_sentences_of_similar_length():
    # Translations are about as long as their sources.
    rng = np.random.default_rng(0)
    tables = {}
    for name in NAMES:
        lengths = rng.integers(3, 31, 200)
        others = lengths + rng.integers(-2, 3, 200)
        tables[Direction.parse(name)] = TokenTable(
            column_like(lengths, rng), column_like(others, rng)
        )
    reader = TableReader(tables, SEQUENCES)
    real = total = 0
    for update in epoch_of(plan_like(tables, tokens=256, per_update=1), 0):
        for planned in update.batches:
            batch = reader.read(planned)
            real += int(batch.target_real_BT.sum() + batch.source_real_BS.sum())
            total += batch.target_real_BT.numel() + batch.source_real_BS.numel()
    assert real / total > 0.9


def test_the_tokens_of_an_update_are_the_real_target_tokens_of_its_batches():
    tables = tables_like([60, 50, 40])
    plan, reader = plan_like(tables), TableReader(tables, SEQUENCES)
    for update in epoch_of(plan, 0):
        real = sum(int(reader.read(each).target_real_BT.sum()) for each in update.batches)
        assert update.target_tokens == real


def sentences_of(batch):
    return [
        (row, tuple(source), tuple(target))
        for row, source, target in zip(
            batch.direction_C.tolist(),
            [s[r].tolist() for s, r in zip(batch.source_BS, batch.source_real_BS, strict=True)],
            [t[r].tolist() for t, r in zip(batch.target_out_BT, batch.target_real_BT, strict=True)],
            strict=True,
        )
    ]


def sentences_of_packed(batch):
    source, target = batch.source_spans.start_C1.tolist(), batch.target_spans.start_C1.tolist()
    real = int(batch.target_spans.sentence_Q[batch.target_real_BT[0]].max()) + 1
    return [
        (
            row,
            tuple(batch.source_BS[0, source[c] : source[c + 1]].tolist()),
            tuple(batch.target_out_BT[0, target[c] : target[c + 1]].tolist()),
        )
        for c, row in enumerate(batch.direction_C.tolist()[:real])
    ]


@settings(max_examples=25, deadline=None)
@given(plans)
def test_a_packed_plan_has_the_sentences_of_a_padded_one_in_batches_of_one_size(shape):
    sizes, tokens, temperature, seed = shape
    tables, read = tables_like(sizes), {}
    reader = TableReader(tables, SEQUENCES)
    for layout in ("padded", "packed"):
        plan = plan_like(
            tables,
            tokens=max(tokens, 40),
            per_update=1,
            temperature=temperature,
            seed=seed,
            layout=layout,
        )
        found = sentences_of if layout == "padded" else sentences_of_packed
        batches = [reader.read(each) for update in epoch_of(plan, 0) for each in update.batches]
        read[layout] = Counter(sentence for batch in batches for sentence in found(batch))
        if layout == "packed":
            assert len({(b.source_BS.shape, b.target_in_BT.shape) for b in batches}) == 1
            assert max(batches[0].source_BS.shape[1], batches[0].target_in_BT.shape[1]) == max(
                tokens, 40
            )
    assert read["packed"] == read["padded"]


def test_a_sentence_longer_than_a_packed_batch_is_told_with_the_fix():
    with pytest.raises(ConfigurationError, match=r"longer than a packed batch(.|\n)*batch\.tokens"):
        next(plan_like(tables_like([30], longest=60), tokens=20, layout="packed").updates())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.sampled_from([8, 40, 500]))
def test_packed_validation_reads_every_sentence_once_however_long(sizes, tokens):
    tables = tables_like(sizes)
    batches = in_order(tables, BatchSettings(tokens=tokens, layout="packed"))
    seen = [
        pair
        for planned in batches
        for pair in zip(planned.direction.tolist(), planned.row.tolist(), strict=True)
    ]
    assert sorted(seen) == [(row, place) for row, size in enumerate(sizes) for place in range(size)]
    reader = TableReader(tables, SEQUENCES)
    assert all(reader.read(planned).target_spans is not None for planned in batches)


@pytest.mark.parametrize("start", [Position(), Position(done=3, index=3), Position(epoch=2)])
def test_one_two_and_four_ranks_read_the_same_sentences_in_every_update(start):
    tables = tables_like([60, 50, 40])
    plan, reader = plan_like(tables, per_update=4), TableReader(tables, SEQUENCES)
    updates = 12  # more than an epoch
    assert len(epoch_of(plan, 0)) < updates
    read = {}
    for world in (1, 2, 4):
        ranks = []
        for rank in range(world):
            dataset = PlannedUpdates(plan, reader, rank=rank, world=world)
            dataset.position = start
            ranks.append(list(itertools.islice(dataset, updates * 4 // world)))
        read[world] = []
        for update in range(updates):
            share = slice(update * 4 // world, (update + 1) * 4 // world)
            mine = [batch for rank in ranks for batch in rank[share]]
            assert len(mine) == 4
            assert len({batch.update_tokens for batch in mine}) == 1
            assert mine[0].update_tokens == sum(int(b.target_real_BT.sum()) for b in mine)
            read[world].append(Counter(s for batch in mine for s in sentences_of(batch)))
    assert read[1] == read[2] == read[4]


def test_batches_hold_the_pieces_of_the_sentences_planned():
    tables = tables_like([30, 20])
    own = list(tables.items())
    plan, reader = plan_like(tables), TableReader(tables, SEQUENCES)
    for planned in epoch_of(plan, 0)[0].batches:
        batch = reader.read(planned)
        for place, (row, source, target) in enumerate(sentences_of(batch)):
            direction, table = own[row]
            sentence = int(planned.row[place])
            tags = SEQUENCES.tags[direction.source], SEQUENCES.tags[direction.target]
            assert source == (tags[0], *table.source(sentence).tolist(), 2)
            assert target == (tags[1], *table.target(sentence).tolist(), 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=3), st.sampled_from([8, 40, 500]))
def test_in_order_covers_every_sentence_once_within_the_limit(sizes, tokens):
    tables = tables_like(sizes)
    batches = in_order(tables, BatchSettings(tokens=tokens))
    seen = [
        pair
        for planned in batches
        for pair in zip(planned.direction.tolist(), planned.row.tolist(), strict=True)
    ]
    expected = [(row, sentence) for row, size in enumerate(sizes) for sentence in range(size)]
    assert sorted(seen) == expected
    for planned in batches:
        assert len(planned.row) > 0
        size = len(planned.row) * longest_side(tables, planned)
        # A sentence above the limit stands alone.
        assert size <= tokens or len(planned.row) == 1


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_what_is_read_in_order(world):
    tables = tables_like([30, 20, 10])
    reader = TableReader(tables, SEQUENCES)
    batches = in_order(tables, BatchSettings(tokens=64), multiple=world)
    assert len(batches) % world == 0
    whole = Counter(s for each in batches for s in sentences_of(reader.read(each)))
    shared = Counter()
    for rank in range(world):
        part = PlannedSlice(batches[rank::world], reader)
        for place in range(len(part)):
            shared.update(sentences_of(part[place]))
    assert shared == whole
    assert sum(whole.values()) == 60


class CorpusOfTables:
    """As much of a corpus as the data module reads."""

    class vocabulary:  # noqa: N801 -- stands for an object
        pad, eos = 0, 2
        languages = ("en", "de", "fr")

        @staticmethod
        def tag(code):
            return SEQUENCES.tags[code]

    def __init__(self, sizes):
        self._tables = {"train": tables_like(sizes), "valid": tables_like(sizes, seed=1)}
        self.directions = list(self._tables["train"])

    def table(self, direction, split):
        return self._tables[split][direction]


def data_like(sizes=(30, 20, 10), **more):
    batch = BatchSettings(tokens=64, per_update=4)
    return TranslationData(CorpusOfTables(sizes), batch=batch, temperature=1.0, seed=3, **more)


def test_the_data_module_reads_the_plan_and_the_validation_sentences():
    data = data_like()
    assert data.sequences == SEQUENCES
    update = next(data.plan().updates())
    read = list(itertools.islice(data.train_dataloader(), 4))
    assert [batch.update_tokens for batch in read] == [update.target_tokens] * 4
    assert [len(batch) for batch in read] == [len(each.row) for each in update.batches]
    assert sum(len(batch) for batch in data.val_dataloader()) == 60


def test_the_data_module_may_take_some_of_the_directions():
    chosen = [Direction.parse("fr-en"), Direction.parse("en-de")]
    data = data_like(directions=chosen)
    assert data.plan().directions == chosen
    assert sum(len(batch) for batch in data.val_dataloader()) == 40


def test_ranks_that_cannot_share_an_update_are_refused():
    data = data_like()
    assert [data.accumulation(world) for world in (1, 2, 4)] == [4, 2, 1]
    with pytest.raises(ConfigurationError, match=r"3 ranks\n.*multiple of 3, such as 6"):
        data.accumulation(3)


@pytest.mark.parametrize("change", [{"tokens": 7}, {"per_update": 0}, {"size": 3}])
def test_batch_settings_that_cannot_be_are_refused(change):
    with pytest.raises(ValidationError):
        BatchSettings(**change)
