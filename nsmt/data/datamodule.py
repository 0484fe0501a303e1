"""The LightningDataModule: planned batches, sliced by rank, collated on the way to the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from nsmt.data.batch import BatchLayout, SequenceFormat
from nsmt.data.corpus import Corpus, TokenTable
from nsmt.data.plan import BatchSettings, PlannedBatch, Position, TrainingPlan, in_order
from nsmt.data.settings import MixSettings
from nsmt.data.vocabulary import Vocabulary
from nsmt.errors import ConfigurationError, NsmtError
from nsmt.languages import Direction

# Batches that a background process has ready; a batch is a few hundred kilobytes.
_AHEAD = 16


def sequence_format(vocabulary: Vocabulary) -> SequenceFormat:
    """The framing tokens of a vocabulary."""
    tags = {code: vocabulary.tag(code) for code in vocabulary.languages}
    return SequenceFormat(pad=vocabulary.pad, eos=vocabulary.eos, tags=tags)


class TableReader:
    """Turns planned sentences of some token tables into batches.

    `among` is the list whose rows batches name directions by: that of the tables, if not given.
    """

    def __init__(
        self,
        tables: Mapping[Direction, TokenTable],
        sequences: SequenceFormat,
        *,
        among: Sequence[Direction] | None = None,
    ) -> None:
        self.directions = list(tables)
        self._tables = list(tables.values())
        self._sequences = sequences
        listed = {direction: row for row, direction in enumerate(among or tables)}
        self._rows = [listed[direction] for direction in tables]

    def read(self, planned: PlannedBatch, *, update_tokens: int | None = None) -> BatchLayout:
        """Collate one planned batch."""
        pairs = list(zip(planned.direction.tolist(), planned.row.tolist(), strict=True))
        if planned.room is not None:
            collate = partial(self._sequences.pack, room=planned.room)
        else:
            collate = partial(self._sequences.collate, round_to=planned.round_to)
        return collate(
            [self._tables[direction].source(row) for direction, row in pairs],
            [self._tables[direction].target(row) for direction, row in pairs],
            [self.directions[direction] for direction, _ in pairs],
            rows=[self._rows[direction] for direction, _ in pairs],
            update_tokens=update_tokens,
        )


class PlannedUpdates(IterableDataset[BatchLayout | NsmtError]):
    """This rank's micro-batches of every update, from a position on, without end."""

    def __init__(
        self,
        plan: TrainingPlan,
        reader: TableReader,
        *,
        rank: int,
        world: int,
        position: Position | None = None,
    ) -> None:
        self.plan, self.reader, self.rank, self.world = plan, reader, rank, world
        self.position = position or Position()

    def __iter__(self) -> Iterator[BatchLayout | NsmtError]:
        # An error raised in a background process would reach the user as a traceback of another
        # kind; as an item it is raised where batches are moved to the device.
        try:
            for update in self.plan.updates(self.position):
                for planned in update.batches[self.rank :: self.world]:
                    batch = self.reader.read(planned, update_tokens=update.target_tokens)
                    yield replace(batch, position=update.position)
        except NsmtError as error:
            yield error


class PlannedSlice(Dataset[BatchLayout | NsmtError]):
    """This rank's share of batches that are read once, in order."""

    def __init__(self, batches: Sequence[PlannedBatch], reader: TableReader) -> None:
        self.batches, self.reader = batches, reader

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> BatchLayout | NsmtError:
        try:
            return self.reader.read(self.batches[place])
        except NsmtError as error:
            return error


class TranslationData(pl.LightningDataModule):
    """Training and validation batches of a prepared corpus, the same for any number of ranks.

    `directions` are those that are read, `among` the run's list, whose rows batches name them by:
    all of the corpus, and those that are read, if not given. `background` plans and reads them in a
    process of its own, ahead of the trainer. `even` refuses validation sets of which ranks would
    get unequal numbers of batches.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        batch: BatchSettings,
        temperature: float,
        seed: int,
        curriculum: Sequence[MixSettings] = (),
        directions: Sequence[Direction] | None = None,
        among: Sequence[Direction] | None = None,
        background: bool = False,
        even: bool = False,
    ) -> None:
        super().__init__()
        self.corpus = corpus
        self.batch = batch
        self.temperature = temperature
        self.seed = seed
        self.curriculum = tuple(curriculum)
        self.directions = list(directions or corpus.directions)
        self.among = list(among or self.directions)
        self.background = background
        self.even = even
        # Where training begins.
        self.position = Position()
        self.sequences = sequence_format(corpus.vocabulary)

    def padded(self) -> TranslationData:
        """The same data in padded batches."""
        return TranslationData(
            self.corpus,
            batch=self.batch.model_copy(update={"layout": "padded"}),
            temperature=self.temperature,
            seed=self.seed,
            curriculum=self.curriculum,
            directions=self.directions,
            among=self.among,
            background=self.background,
            even=self.even,
        )

    def accumulation(self, world: int) -> int:
        """Micro-batches that each of `world` ranks takes in one update."""
        if self.batch.per_update % world:
            multiple = -(-self.batch.per_update // world) * world
            raise ConfigurationError(
                f"batch.per_update={self.batch.per_update} cannot be shared by {world} ranks",
                fix=f"set batch.per_update to a multiple of {world}, such as {multiple}",
            )
        return self.batch.per_update // world

    def plan(self) -> TrainingPlan:
        """The global plan of the training split."""
        return TrainingPlan(
            self._tables("train"),
            batch=self.batch,
            temperature=self.temperature,
            seed=self.seed,
            curriculum=self.curriculum,
        )

    def largest_batch(self) -> BatchLayout:
        """The batch of the plan's first window that holds the longest sentence."""
        return self._reader("train").read(self.plan().largest())

    def sentences_of(self, position: Position) -> Iterator[dict[str, object]]:
        """The sentence pairs of one update: direction, row in its table, and both texts."""
        tables = self._tables("train")
        vocabulary = self.corpus.vocabulary
        for batch in next(self.plan().updates(position)).batches:
            for place, row in zip(batch.direction.tolist(), batch.row.tolist(), strict=True):
                direction = self.directions[place]
                table = tables[direction]
                source, target = vocabulary.decode(
                    [table.source(row).tolist(), table.target(row).tolist()]
                )
                yield {
                    "direction": str(direction),
                    "row": row,
                    "source": source,
                    "target": target,
                }

    def train_dataloader(self) -> DataLoader[BatchLayout | NsmtError]:
        """This rank's part of the plan."""
        rank, world = self._ranks()
        self.accumulation(world)
        plan = self.plan()
        dataset = PlannedUpdates(
            plan, self._reader("train"), rank=rank, world=world, position=self.position
        )
        return self._loader(dataset)

    def val_dataloader(self) -> DataLoader[BatchLayout | NsmtError]:
        """This rank's part of every direction's validation set."""
        rank, world = self._ranks()
        batches = in_order(self._tables("valid"), self.batch, multiple=world)
        if self.even and len(batches) % world:
            raise ConfigurationError(
                f"{len(batches)} batches of validation sentences cannot be shared evenly by "
                f"{world} ranks, as trainer.strategy=fsdp needs it",
                fix="use fewer ranks, trainer.strategy=ddp, or more validation sentences",
            )
        return self._loader(PlannedSlice(batches[rank::world], self._reader("valid")))

    def transfer_batch_to_device(
        self, batch: BatchLayout | NsmtError, device: torch.device, dataloader_idx: int
    ) -> BatchLayout:
        """Move a batch; Lightning's own way cannot rebuild a frozen dataclass.

        What went wrong while it was read is raised here.
        """
        del dataloader_idx
        if isinstance(batch, NsmtError):
            raise batch
        return batch.to(device, non_blocking=True)

    def _tables(self, split: str) -> dict[Direction, TokenTable]:
        return {direction: self.corpus.table(direction, split) for direction in self.directions}

    def _reader(self, split: str) -> TableReader:
        return TableReader(self._tables(split), self.sequences, among=self.among)

    def _ranks(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def _loader(
        self, dataset: Dataset[BatchLayout | NsmtError]
    ) -> DataLoader[BatchLayout | NsmtError]:
        return DataLoader(
            dataset,
            batch_size=None,
            # More than one would each read the whole plan.
            num_workers=1 if self.background else 0,
            prefetch_factor=_AHEAD if self.background else None,
            # Of its own: an iterator that begins takes nothing from what dropout draws from.
            generator=torch.Generator(),
            pin_memory=self.trainer is not None
            and self.trainer.strategy.root_device.type == "cuda",
        )
