"""Identification beside a bare forward pass and beside Lightning's validation, on the same text."""

from __future__ import annotations

import statistics
from pathlib import Path

import torch

from nsmt.benchmarks.timing import Contestants, Figures, in_turns, ratio
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TableReader, TranslationData
from nsmt.data.plan import BatchSettings, in_order
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.statistics import CountRule
from nsmt.training.identification import gather_statistics
from nsmt.training.module import TranslationModule
from nsmt.training.settings import OptimizerSettings, TrainerSettings
from nsmt.training.trainer import chosen_precision, device_of, make_trainer


def bench_identify(
    corpus: Corpus,
    model: ModelSettings,
    batch: BatchSettings,
    trainer: TrainerSettings,
    *,
    repetitions: int,
    folder: Path,
) -> Figures:
    """Median seconds of identification and its peers, and the median of its ratio to each."""
    contestants = _contestants(corpus, model, batch, trainer, folder=folder)
    seconds = in_turns(contestants, repetitions, device=device_of(trainer.accelerator))
    found = {f"{name}_seconds": statistics.median(values) for name, values in seconds.items()}
    for peer in seconds.keys() - {"identify"}:
        found[f"identify_over_{peer}"] = ratio(seconds["identify"], seconds[peer])
    return found


def _contestants(
    corpus: Corpus,
    settings: ModelSettings,
    batch: BatchSettings,
    trainer: TrainerSettings,
    *,
    folder: Path,
) -> Contestants:
    """Counting on the validation sets, against a bare forward pass and Lightning's validation.

    The bare pass reads the same batches and runs both stacks, without output projection and loss;
    the validation computes both.
    """
    torch.manual_seed(0)
    vocabulary, directions = corpus.vocabulary, list(corpus.directions)
    model = Transformer(settings, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
    device = device_of(trainer.accelerator)
    trained = TrainedModel(model.eval(), vocabulary, directions)
    data = TranslationData(corpus, batch=batch, temperature=1.0, seed=0)
    tables = {direction: corpus.table(direction, "valid") for direction in directions}
    reader = TableReader(tables, data.sequences)

    reduced = chosen_precision(trainer) == "bf16-mixed"

    @torch.inference_mode()
    def forward() -> None:
        model.to(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=reduced):
            for planned in in_order(tables, batch):
                model(reader.read(planned).to(device))

    def validation() -> None:
        module = TranslationModule(
            model, directions=directions, masks=None, optimizer=OptimizerSettings(), updates=1
        )
        make_trainer(trainer, folder=folder).validate(module, datamodule=data, verbose=False)

    def identify() -> None:
        gather_statistics(
            trained, data, rule=CountRule(), trainer=trainer, folder=folder, progress=False
        )

    return {"forward": forward, "validation": validation, "identify": identify}
