"""A trained model as a folder: safetensors, JSON, the vocabulary and, if any, the masks.

Adapters are among the weights; `model.json` says whose they are.

Nothing in it is executable (design contract 7). The folder is written under a temporary name,
synced and renamed, and its manifest holds the sha256 of every file, so that a torn or altered
checkpoint is noticed before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from pydantic import ValidationError

from nsmt.data.vocabulary import VOCABULARY, Vocabulary
from nsmt.errors import CheckpointError, ConfigurationError
from nsmt.files import replace_folder
from nsmt.languages import Direction, Halves
from nsmt.manifest import verified_manifest, write_manifest
from nsmt.models.adapters import Adapters, AdapterSettings
from nsmt.models.masks import DirectionMasks, Permits
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.models.weight_masks import WeightMasks
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.tensors import save_tensors

_VERSION = 1
# The files of a checkpoint.
WEIGHTS, MODEL, ATLAS = "model.safetensors", "model.json", "atlas.safetensors"
WEIGHT_MASKS = "weight_masks.safetensors"
_REQUIRED = (WEIGHTS, MODEL, VOCABULARY)


@dataclass(slots=True)
class TrainedModel:
    """A model with all that translating needs.

    `directions` are those it was trained on, in the order of its masks; `atlas` is None for a
    model that uses every neuron; `history` says how it came about. A model with `weight_masks` is
    one for each direction: `systems` makes these of it. A model has one of these or adapters, or
    none of them; more are a CheckpointError. `halves` say whose weights or adapters
    directions that were not trained have; no checkpoint stores them.
    """

    model: Transformer
    vocabulary: Vocabulary
    directions: list[Direction]
    atlas: NeuronAtlas | None = None
    history: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    weight_masks: WeightMasks | None = None
    halves: Mapping[Direction, Halves] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.require_one_kind()

    def require_one_kind(self) -> None:
        """A CheckpointError for what has more than one of masks of either kind and adapters."""
        own = {
            "masks of neurons": self.atlas,
            "masks of weights": self.weight_masks,
            "adapters": self.model.adapters,
        }
        kinds = [kind for kind, there in own.items() if there is not None]
        if len(kinds) > 1:
            raise CheckpointError(
                f"a model has {' and '.join(kinds)} at once, which no method makes",
                fix="train each of them from the dense model",
            )

    @property
    def is_plain(self) -> bool:
        """Whether all directions use the same weights and neurons."""
        return self.atlas is None and self.weight_masks is None and self.model.adapters is None

    def masks(self, directions: Sequence[Direction] | None = None) -> Permits | None:
        """What tells the masks and adapters of some directions (all trained ones by default).

        None for a model in which all directions use the same; AtlasError or AdapterError for a
        direction that has none. A CheckpointError where these would not be all: each direction has
        weights of its own.
        """
        if self.weight_masks is not None:
            raise CheckpointError(
                "this model has other weights for each direction",
                fix="read it with load_system, which gives a model for each direction",
            )
        self.require_one_kind()
        directions = directions or self.directions
        if self.atlas is not None:
            return DirectionMasks(self.atlas, directions, sites=self.model.sites)
        if self.model.adapters is not None:
            return self.model.adapters.choice(directions, self.halves)
        return None


def save_checkpoint(folder: Path, trained: TrainedModel) -> str:
    """Write `trained` and return its fingerprint, the sha256 of the weights."""
    with replace_folder(folder) as building:
        # Tied weights once, and no metadata: that is written in another order each time.
        weights = {name: each.detach() for name, each in trained.model.named_parameters()}
        save_tensors(building / WEIGHTS, weights)
        trained.vocabulary.save(building / VOCABULARY)
        if trained.atlas is not None:
            trained.atlas.save(building / ATLAS)
        if trained.weight_masks is not None:
            trained.weight_masks.save(building / WEIGHT_MASKS)
        description = {
            "version": _VERSION,
            "model": trained.model.settings.model_dump(mode="json"),
            "directions": [str(direction) for direction in trained.directions],
            "adapters": _description_of(trained.model.adapters),
            "history": trained.history,
        }
        (building / MODEL).write_text(json.dumps(description, indent=1), encoding="utf-8")
        manifest = write_manifest(building)
    return manifest[WEIGHTS]


def fingerprint_of(folder: Path) -> str:
    """The fingerprint of a checkpoint that is whole; anything amiss is a CheckpointError."""
    return verified_manifest(folder, required=_REQUIRED)[WEIGHTS]


def load_checkpoint(folder: Path) -> TrainedModel:
    """Read and verify a checkpoint; anything amiss is a CheckpointError."""
    manifest = verified_manifest(folder, required=_REQUIRED)
    described = _described(folder)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    model = Transformer(described.model, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
    if described.adapters is not None:
        model.adapters = Adapters(described.model, *described.adapters)
    try:
        safetensors.torch.load_model(model, str(folder / WEIGHTS))
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights in {folder} do not fit its {MODEL}: {error}", fix="train it again"
        ) from error
    weight_masks = WeightMasks.load(folder / WEIGHT_MASKS) if WEIGHT_MASKS in manifest else None
    return TrainedModel(
        model=model.eval(),
        vocabulary=vocabulary,
        directions=described.directions,
        atlas=NeuronAtlas.load(folder / ATLAS) if ATLAS in manifest else None,
        history=described.history,
        fingerprint=manifest[WEIGHTS],
        weight_masks=weight_masks,
    )


@dataclass(frozen=True, slots=True)
class _Described:
    """What `model.json` says."""

    model: ModelSettings
    directions: list[Direction]
    history: dict[str, Any]
    adapters: tuple[AdapterSettings, dict[Direction, str]] | None


def _described(folder: Path) -> _Described:
    try:
        told = json.loads((folder / MODEL).read_text(encoding="utf-8"))
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
            _adapters_in(told),
        )
    except (KeyError, ValidationError, ConfigurationError) as error:
        raise CheckpointError(
            f"{folder / MODEL} does not describe a model: {error}", fix="train it again"
        ) from error


def _description_of(adapters: Adapters | None) -> dict[str, Any] | None:
    if adapters is None:
        return None
    groups = {str(direction): group for direction, group in adapters.group_of.items()}
    return {"settings": adapters.settings.model_dump(mode="json"), "groups": groups}


def _adapters_in(told: dict[str, Any]) -> tuple[AdapterSettings, dict[Direction, str]] | None:
    # Checkpoints of earlier releases say nothing of adapters.
    if (adapters := told.get("adapters")) is None:
        return None
    groups = {Direction.parse(name): str(group) for name, group in adapters["groups"].items()}
    return AdapterSettings.model_validate(adapters["settings"]), groups


def directions_of(folder: Path) -> list[Direction]:
    """The directions that a checkpoint was trained on."""
    return _described(folder).directions


def is_complete(folder: Path) -> bool:
    """Whether a whole, unaltered checkpoint is there."""
    try:
        verified_manifest(folder, required=_REQUIRED)
    except CheckpointError:
        return False
    return True
