"""Neuron Specialization (arXiv 2404.11201, section 3): each direction trains on its own neurons.

The rows of the first feed-forward weight that a direction does not own are masked, in training and
in translation; everything else stays shared and is trained by all directions. The paper's table
also has rows in which one stack alone is specialised; the other then uses every neuron.

The other methods here take the paper's apart, with the same sets of neurons: what is due to the
sparse forward pass, to updates that are kept apart, and to the rest of the model going along.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import Masked
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import keep_all, select

_NAME = "neuron_specialization"


class NeuronSpecialization(Method):
    """Masks by cumulative activation, in both stacks or in one."""

    labels: ClassVar = {
        "neuron_specialization": "neuron specialisation",
        "neuron_specialization_encoder": "neuron specialisation, encoder only",
        "neuron_specialization_decoder": "neuron specialisation, decoder only",
    }
    takes_atlas: ClassVar = True
    name: Literal[
        "neuron_specialization", "neuron_specialization_encoder", "neuron_specialization_decoder"
    ] = "neuron_specialization"

    def treatment(self, evidence: Evidence) -> Masked:
        """The most active neurons of each direction that cover k percent of its activations."""
        atlas = selected(evidence)
        stack = self.name.removeprefix(_NAME).lstrip("_")
        return Masked(keep_all(atlas, except_in=stack) if stack else atlas)


class MaskAtInference(Method):
    """The control's weights, and Neuron Specialization's masks when they translate."""

    labels: ClassVar = {"mask_at_inference": "masks at inference only"}
    takes_atlas: ClassVar = True
    name: Literal["mask_at_inference"] = "mask_at_inference"

    def treatment(self, evidence: Evidence) -> Masked:
        """Trained without masks."""
        return Masked(selected(evidence), act="after")


class UpdateMask(Method):
    """All neurons in the forward pass, in training and translation; a direction trains its own."""

    labels: ClassVar = {"update_mask": "masked gradients"}
    takes_atlas: ClassVar = True
    name: Literal["update_mask"] = "update_mask"

    def treatment(self, evidence: Evidence) -> Masked:
        """Rows get no gradient of directions that do not own them."""
        return Masked(selected(evidence), act="gradient")


class FrozenRest(Method):
    """Neuron Specialization in which the rows of the masked weights alone are trained."""

    labels: ClassVar = {"frozen_rest": "specialised rows only"}
    takes_atlas: ClassVar = True
    name: Literal["frozen_rest"] = "frozen_rest"

    def treatment(self, evidence: Evidence) -> Masked:
        """Everything else stays as the dense model has it."""
        return Masked(selected(evidence), freeze_rest=True)


class IsolatedUpdates(Method):
    """Neuron Specialization in which directions never move rows that are not theirs.

    The published method keeps gradients apart; an optimiser with moments still moves a row, and
    decays its moments, in updates that none of the row's owners was part of.
    """

    labels: ClassVar = {"isolated_updates": "isolated updates"}
    takes_atlas: ClassVar = True
    needs_whole_weights: ClassVar = True
    name: Literal["isolated_updates"] = "isolated_updates"

    def treatment(self, evidence: Evidence) -> Masked:
        """The same masks, and an optimiser that knows of them."""
        return Masked(selected(evidence), isolated=True)


def selected(evidence: Evidence) -> NeuronAtlas:
    """The sets of the paper's rule, or those that were given in their place."""
    if evidence.given is not None:
        return evidence.given
    return select(evidence.statistics, evidence.selection, pivot=evidence.pivot)
