"""A trained model as a folder: safetensors, JSON, the vocabulary and, if any, the atlas.

Nothing in it is executable (design contract 7). The folder is written under a temporary name,
synced and renamed, and its manifest holds the sha256 of every file, so that a torn or altered
checkpoint is noticed before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from pydantic import ValidationError

from nsmt.data.vocabulary import VOCABULARY, Vocabulary
from nsmt.errors import CheckpointError, ConfigurationError
from nsmt.files import replace_folder, sha256
from nsmt.languages import Direction
from nsmt.models.masks import DirectionMasks
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import NeuronAtlas

_VERSION = 1
_WEIGHTS, _MODEL, _MANIFEST = "model.safetensors", "model.json", "manifest.json"
_ATLAS = "atlas.safetensors"


@dataclass(slots=True)
class TrainedModel:
    """A model with all that translating needs.

    `directions` are those it was trained on, in the order of its masks; `atlas` is None for a
    model that uses every neuron; `history` says how it came about.
    """

    model: Transformer
    vocabulary: Vocabulary
    directions: list[Direction]
    atlas: NeuronAtlas | None = None
    history: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""

    def masks(self, directions: Sequence[Direction] | None = None) -> DirectionMasks | None:
        """The masks of some directions (all trained ones by default)."""
        if self.atlas is None:
            return None
        return DirectionMasks(self.atlas, directions or self.directions, sites=self.model.sites)


def save_checkpoint(folder: Path, trained: TrainedModel) -> str:
    """Write `trained` and return its fingerprint, the sha256 of the weights."""
    with replace_folder(folder) as building:
        safetensors.torch.save_model(trained.model, str(building / _WEIGHTS))
        trained.vocabulary.save(building / VOCABULARY)
        if trained.atlas is not None:
            trained.atlas.save(building / _ATLAS)
        description = {
            "version": _VERSION,
            "model": trained.model.settings.model_dump(mode="json"),
            "directions": [str(direction) for direction in trained.directions],
            "history": trained.history,
        }
        (building / _MODEL).write_text(json.dumps(description, indent=1), encoding="utf-8")
        manifest = {path.name: sha256(path) for path in sorted(building.iterdir())}
        (building / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return manifest[_WEIGHTS]


def load_checkpoint(folder: Path) -> TrainedModel:
    """Read and verify a checkpoint; anything amiss is a CheckpointError."""
    manifest = _verified_manifest(folder)
    described = _described(folder)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    model = Transformer(described.model, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
    try:
        safetensors.torch.load_model(model, str(folder / _WEIGHTS))
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights in {folder} do not fit its {_MODEL}: {error}", fix="train it again"
        ) from error
    return TrainedModel(
        model=model.eval(),
        vocabulary=vocabulary,
        directions=described.directions,
        atlas=NeuronAtlas.load(folder / _ATLAS) if _ATLAS in manifest else None,
        history=described.history,
        fingerprint=manifest[_WEIGHTS],
    )


@dataclass(frozen=True, slots=True)
class _Described:
    """What `model.json` says."""

    model: ModelSettings
    directions: list[Direction]
    history: dict[str, Any]


def _described(folder: Path) -> _Described:
    try:
        told = json.loads((folder / _MODEL).read_text(encoding="utf-8"))
        # Before anything else: another version may describe models in other words.
        if told.get("version") != _VERSION:
            raise CheckpointError(
                f"{folder} has format version {told.get('version')}, this release reads {_VERSION}",
                fix="use the release that wrote it",
            )
        return _Described(
            ModelSettings.model_validate_json(json.dumps(told["model"])),
            [Direction.parse(name) for name in told["directions"]],
            told["history"],
        )
    except (KeyError, ValidationError, ConfigurationError) as error:
        raise CheckpointError(
            f"{folder / _MODEL} does not describe a model: {error}", fix="train it again"
        ) from error


def is_complete(folder: Path) -> bool:
    """Whether a whole, unaltered checkpoint is there."""
    try:
        _verified_manifest(folder)
    except CheckpointError:
        return False
    return True


def _verified_manifest(folder: Path) -> dict[str, str]:
    path = folder / _MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint in {folder}",
            fix=f"name the folder of a trained model, the one that holds {_MANIFEST}",
        )
    try:
        manifest: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        damaged = [name for name, digest in manifest.items() if sha256(folder / name) != digest]
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint in {folder} is torn: {error}", fix="use another one, or train again"
        ) from error
    damaged += [name for name in (_WEIGHTS, _MODEL, VOCABULARY) if name not in manifest]
    if damaged:
        names = ", ".join(damaged)
        raise CheckpointError(
            f"the checkpoint in {folder} is corrupt: {names} is not what was written",
            fix="use another one, or train again",
        )
    return manifest
