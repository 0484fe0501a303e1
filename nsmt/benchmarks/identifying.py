"""Identification beside a bare forward pass and beside Lightning's validation, on the same text."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from nsmt.benchmarks.timing import Contestants, Figures, in_turns, ratio
from nsmt.data.batch import BatchLayout
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TableReader, TranslationData
from nsmt.data.plan import BatchSettings, in_order
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.recording import ActivationRecorder
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.training.identification import gather_statistics, positions_of
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
    for peer in ("forward", "validation"):
        found[f"identify_over_{peer}"] = ratio(seconds["identify"], seconds[peer])
    found["counted_over_bare"] = ratio(seconds["counted"], seconds["bare"])
    return found


def _contestants(
    corpus: Corpus,
    settings: ModelSettings,
    batch: BatchSettings,
    trainer: TrainerSettings,
    *,
    folder: Path,
) -> Contestants:
    """Counting on the validation sets, against forward passes and Lightning's validation.

    The validation computes the loss too, which no neuron's activation needs.
    """
    torch.manual_seed(0)
    vocabulary, directions = corpus.vocabulary, list(corpus.directions)
    model = Transformer(settings, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
    trained = TrainedModel(model.eval(), vocabulary, directions)
    data = TranslationData(corpus, batch=batch, temperature=1.0, seed=0)

    def validation() -> None:
        module = TranslationModule(
            model, directions=directions, masks=None, optimizer=OptimizerSettings(), updates=1
        )
        make_trainer(trainer, folder=folder).validate(module, datamodule=data, verbose=False)

    def identify() -> None:
        gather_statistics(
            trained, data, rule=CountRule(), trainer=trainer, folder=folder, progress=False
        )

    passes = _forward_passes(trained, data, trainer)
    return {"validation": validation, "identify": identify, **passes}


def _forward_passes(
    trained: TrainedModel, data: TranslationData, trainer: TrainerSettings
) -> Contestants:
    """Both stacks over the validation sets, without output projection and loss.

    `forward` reads its batches; `bare` and `counted`, which also counts, find them on the device,
    so that reading, which a GPU need not wait for, hides nothing.
    """
    device = device_of(trainer.accelerator)
    model = trained.model
    reduced = chosen_precision(trainer) == "bf16-mixed"
    tables = {direction: data.corpus.table(direction, "valid") for direction in data.directions}
    reader = TableReader(tables, data.sequences)

    def read() -> Iterator[BatchLayout]:
        return (reader.read(planned).to(device) for planned in in_order(tables, data.batch))

    batches = list(read())

    @torch.inference_mode()
    def over(
        batches: Iterable[BatchLayout], observe: Callable[[BatchLayout], object] = lambda _: None
    ) -> None:
        model.to(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=reduced):
            for batch in batches:
                observe(batch)
                model(batch)

    def counted() -> None:
        counts = ActivationStatistics(list(map(str, data.directions)), model.sites, device=device)
        recorder = ActivationRecorder(counts)
        with recorder.attached(model.projections):
            over(batches, lambda batch: recorder.observe(batch.direction_C, positions_of(batch)))

    return {"forward": lambda: over(read()), "bare": lambda: over(batches), "counted": counted}
