"""`identify`: the neurons of a checkpoint's directions, as statistics and an atlas on disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from nsmt.commands.config import PathSettings
from nsmt.commands.fit import require_model_fits
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.errors import CheckpointError, ConfigurationError
from nsmt.methods.lass import Lass
from nsmt.models.checkpoint import load_checkpoint
from nsmt.neurons.selection import SelectionSettings, select
from nsmt.progress import result_console
from nsmt.settings import Settings
from nsmt.training.identification import gather_statistics
from nsmt.training.schedule import STATISTICS
from nsmt.training.settings import TrainerSettings
from nsmt.training.trainer import on_machine, set_machine


class IdentifyConfig(Settings):
    """All of `nsmt identify`."""

    checkpoint: str = Field(description="the folder of a trained model")
    corpus: str = Field(description="the folder of a prepared corpus with its vocabulary")
    output: str = Field(description="where statistics.safetensors and atlas.safetensors go")
    selection: SelectionSettings
    batch: BatchSettings
    trainer: TrainerSettings
    progress: bool = True
    paths: PathSettings


def identify(config: IdentifyConfig) -> None:
    """Count on the validation sets in one pass, select, write both files.

    Of a checkpoint with masks, those of the neurons that a direction may use.
    """
    if config.trainer.world > 1:
        raise ConfigurationError(
            f"identify runs as one rank, the trainer asks for {config.trainer.world}",
            fix="choose trainer=cpu or trainer=gpu; runs of several ranks identify by themselves",
        )
    set_machine(config.trainer)
    trained = load_checkpoint(Path(config.checkpoint))
    if trained.weight_masks is not None:
        raise CheckpointError(
            f"{config.checkpoint} has no neurons to identify: {Lass.not_probed}",
            fix="name a checkpoint of one model, such as the dense one that it came from",
        )
    corpus = Corpus.open(Path(config.corpus))
    require_model_fits(trained, corpus, splits=("valid",))
    data = TranslationData(
        corpus,
        batch=on_machine(config.batch, config.trainer, trained.model.settings),
        temperature=1.0,
        seed=0,
        directions=trained.directions,
    )
    output = Path(config.output)
    statistics = gather_statistics(
        trained,
        data,
        rule=config.selection.count_rule,
        trainer=config.trainer,
        folder=output,
        progress=config.progress,
    )
    output.mkdir(parents=True, exist_ok=True)
    statistics.save(output / STATISTICS)
    atlas = select(statistics, config.selection, pivot=corpus.pivot)
    atlas.save(output / "atlas.safetensors")
    kept = [f"{site.name} {atlas.masks(site).double().mean().item():.1%}" for site in atlas.sites]
    result_console().print(
        f"{len(atlas.tasks)} directions at {len(atlas.sites)} sites; neurons kept on average: "
        f"{', '.join(kept)}\natlas: {output / 'atlas.safetensors'}",
        highlight=False,
        markup=False,
    )
