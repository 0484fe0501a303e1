"""A system in a run is one model, or several that share the directions out among them.

One for all directions; one a direction, where directions have weight masks; one a folder, where
pairs were trained by themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import nn

from nsmt.errors import CheckpointError
from nsmt.languages import Direction, Halves
from nsmt.manifest import MANIFEST
from nsmt.models.checkpoint import TrainedModel, directions_of, is_complete, load_checkpoint
from nsmt.models.masked_weights import masked
from nsmt.models.transformer import Transformer
from nsmt.models.weight_masks import OUTPUT, WeightMasks, maskable_weights

# The folder of the one model of a stage or part.
CHECKPOINT: Final = "checkpoint"


def load_system(folder: Path) -> Iterator[TrainedModel]:
    """The models of a checkpoint, or of FOLDER/checkpoint, or of every FOLDER/*/checkpoint.

    They come one after the other: besides what the caller keeps, one checkpoint and one model are
    in memory. Folders come by name, directions in their order in the checkpoint. A CheckpointError
    if there are none, or if two models are for one direction.
    """
    seen: set[Direction] = set()
    for place in _checkpoints(folder):
        for trained in models_of(load_checkpoint(place)):
            if both := seen.intersection(trained.directions):
                raise CheckpointError(
                    f"{folder} holds several models for {', '.join(sorted(map(str, both)))}",
                    fix="name the folder of one of them",
                )
            seen.update(trained.directions)
            yield trained


def is_whole(folder: Path, directions: Iterable[Direction]) -> bool:
    """Whether a system's checkpoints are there, unaltered, for all the directions."""
    places = _checkpoints(folder)
    if not all(map(is_complete, places)):
        return False
    return set(directions) <= {each for place in places for each in directions_of(place)}


def materialised(trained: TrainedModel, masks: WeightMasks, direction: Direction) -> TrainedModel:
    """The model of one direction, a copy whose weights are W ⊙ m: for use, not for training.

    A direction with halves has the masks of one in the encoder and of the other in the decoder, to
    which attention to the source and the output projection belong. An output projection that has a
    mask is no longer tied. The fingerprint stays that of the weights without masks. Directions
    without masks, and masks of other models, are an AtlasError.
    """
    masks.require_fit(trained.model)
    halves = trained.halves.get(direction, Halves(direction, direction))
    encoder, decoder = (masks.row(str(half)) for half in halves)
    model = copy.deepcopy(trained.model)
    if OUTPUT in masks.shapes:
        _untie(model)
    weights = maskable_weights(model, output_projection=True)
    with torch.no_grad():
        for name, bits_TP in masks.packed.items():
            row = encoder if name.partition(".")[0] == "encoder" else decoder
            weights[name].copy_(masked(weights[name], bits_TP[row].to(weights[name].device)))
    return replace(
        trained,
        model=model.eval(),
        directions=[direction],
        weight_masks=None,
        history={**trained.history, "direction": str(direction)},
    )


def _untie(model: Transformer) -> None:
    """Give the output projection, and embeddings that are shared, weights of their own."""
    model.output.weight = nn.Parameter(model.output.weight.detach().clone())
    model.encoder_embedding = copy.deepcopy(model.encoder_embedding)
    model.settings = model.settings.model_copy(update={"share_embeddings": "none"})


def models_of(trained: TrainedModel) -> Iterator[TrainedModel]:
    """The model itself or, where directions have weight masks, one of each direction in turn."""
    if trained.weight_masks is None:
        yield trained
        return
    for direction in trained.directions:
        yield materialised(trained, trained.weight_masks, direction)


def _checkpoints(folder: Path) -> list[Path]:
    if (folder / MANIFEST).exists():
        return [folder]
    if (folder / CHECKPOINT).exists():
        return [folder / CHECKPOINT]
    # Without any, the folder itself is told to be no checkpoint.
    return sorted(folder.glob(f"*/{CHECKPOINT}")) or [folder]
