"""The LightningDataModule: planned batches, sliced by rank, collated on the way to the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from nsmt.data.batch import BatchLayout, SequenceFormat
from nsmt.data.corpus import Corpus, TokenTable
from nsmt.data.plan import BatchSettings, PlannedBatch, Position, TrainingPlan, in_order
from nsmt.data.settings import MixSettings
from nsmt.data.vocabulary import Vocabulary
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction

# Batches that a background process has ready; a batch is a few hundred kilobytes.
_AHEAD = 16


def sequence_format(vocabulary: Vocabulary) -> SequenceFormat:
    """The framing tokens of a vocabulary."""
    tags = {code: vocabulary.tag(code) for code in vocabulary.languages}
    return SequenceFormat(pad=vocabulary.pad, eos=vocabulary.eos, tags=tags)


class TableReader:
    """Turns planned sentences of some token tables into batches."""

    def __init__(self, tables: Mapping[Direction, TokenTable], sequences: SequenceFormat) -> None:
        self.directions = list(tables)
        self._tables = list(tables.values())
        self._sequences = sequences

    def read(self, planned: PlannedBatch, *, update_tokens: int | None = None) -> BatchLayout:
        """Collate one planned batch."""
        pairs = list(zip(planned.direction.tolist(), planned.row.tolist(), strict=True))
        collate = self._sequences.collate
        if planned.room is not None:
            collate = partial(self._sequences.pack, room=planned.room)
        return collate(
            [self._tables[direction].source(row) for direction, row in pairs],
            [self._tables[direction].target(row) for direction, row in pairs],
            [self.directions[direction] for direction, _ in pairs],
            rows=[direction for direction, _ in pairs],
            update_tokens=update_tokens,
        )


class PlannedUpdates(IterableDataset[BatchLayout]):
    """This rank's micro-batches of every update, from a position on, without end."""

    def __init__(self, plan: TrainingPlan, reader: TableReader, *, rank: int, world: int) -> None:
        self.plan, self.reader, self.rank, self.world = plan, reader, rank, world
        self.position = Position()

    def __iter__(self) -> Iterator[BatchLayout]:
        for update in self.plan.updates(self.position):
            for planned in update.batches[self.rank :: self.world]:
                yield self.reader.read(planned, update_tokens=update.target_tokens)


class PlannedSlice(Dataset[BatchLayout]):
    """This rank's share of batches that are read once, in order."""

    def __init__(self, batches: Sequence[PlannedBatch], reader: TableReader) -> None:
        self.batches, self.reader = batches, reader

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> BatchLayout:
        return self.reader.read(self.batches[place])


class TranslationData(pl.LightningDataModule):
    """Training and validation batches of a prepared corpus, the same for any number of ranks.

    `background` plans and reads them in a process of its own, ahead of the trainer.
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
        background: bool = False,
    ) -> None:
        super().__init__()
        self.corpus = corpus
        self.batch = batch
        self.temperature = temperature
        self.seed = seed
        self.curriculum = tuple(curriculum)
        self.directions = list(directions or corpus.directions)
        self.background = background
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
            background=self.background,
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

    def train_dataloader(self) -> DataLoader[BatchLayout]:
        """This rank's part of the plan."""
        rank, world = self._ranks()
        self.accumulation(world)
        reader = TableReader(self._tables("train"), self.sequences)
        dataset = PlannedUpdates(self.plan(), reader, rank=rank, world=world)
        return self._loader(dataset)

    def val_dataloader(self) -> DataLoader[BatchLayout]:
        """This rank's part of every direction's validation set."""
        rank, world = self._ranks()
        tables = self._tables("valid")
        batches = in_order(tables, self.batch, multiple=world)[rank::world]
        return self._loader(PlannedSlice(batches, TableReader(tables, self.sequences)))

    def transfer_batch_to_device(
        self, batch: BatchLayout, device: torch.device, dataloader_idx: int
    ) -> BatchLayout:
        """Move a batch; Lightning's own way cannot rebuild a frozen dataclass."""
        del dataloader_idx
        return batch.to(device, non_blocking=True)

    def _tables(self, split: str) -> dict[Direction, TokenTable]:
        return {direction: self.corpus.table(direction, split) for direction in self.directions}

    def _ranks(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def _loader(self, dataset: Dataset[BatchLayout]) -> DataLoader[BatchLayout]:
        return DataLoader(
            dataset,
            batch_size=None,
            # More than one would each read the whole plan.
            num_workers=1 if self.background else 0,
            prefetch_factor=_AHEAD if self.background else None,
            pin_memory=torch.cuda.is_available(),
        )
