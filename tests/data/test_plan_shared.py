"""Ranks, and the data module, read the plan without loss or repetition."""

import itertools
from collections import Counter

import pytest
from made_plans import SEQUENCES, epoch_of, plan_like, sentences_of, tables_like

from nsmt.data.datamodule import PlannedSlice, PlannedUpdates, TableReader, TranslationData
from nsmt.data.plan import BatchSettings, Position, in_order
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction


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


@pytest.mark.parametrize("background", [False, True])
def test_batches_of_some_directions_may_name_them_by_the_rows_of_the_runs_list(background):
    sizes = (30, 20, 60)
    tables = CorpusOfTables(sizes)
    chosen = Direction.parse("fr-en")
    data = data_like(sizes, directions=[chosen], among=tables.directions, background=background)
    alone = data_like(sizes, directions=[chosen])
    for loader in ("train_dataloader", "val_dataloader"):
        found, expected = (
            list(itertools.islice(getattr(each, loader)(), 3)) for each in (data, alone)
        )
        for batch, own in zip(found, expected, strict=True):
            assert batch.direction_C.tolist() == [2] * len(own)
            assert batch.rows == (2,) * len(own)
            assert own.rows == (0,) * len(own)
            assert batch.source_BS.tolist() == own.source_BS.tolist()
            assert batch.target_out_BT.tolist() == own.target_out_BT.tolist()
    assert {row for batch in data.padded().val_dataloader() for row in batch.rows} == {2}
    assert set(data.largest_batch().rows) == {2}


def test_a_direction_that_the_runs_list_lacks_is_a_key_error():
    data = data_like(directions=[Direction.parse("fr-en")], among=[Direction.parse("en-de")])
    with pytest.raises(KeyError):
        next(iter(data.train_dataloader()))


def test_ranks_that_cannot_share_an_update_are_refused():
    data = data_like()
    assert [data.accumulation(world) for world in (1, 2, 4)] == [4, 2, 1]
    with pytest.raises(ConfigurationError, match=r"3 ranks\n.*multiple of 3, such as 6"):
        data.accumulation(3)
