"""The control: the same further updates with the same reset, and no mask.

The released code of Neuron Specialization has none; in a prototype on real text all of the gain
over the dense checkpoint was extra training, so no table of ours goes without this row.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import Masked


class ContinueDense(Method):
    """Every direction goes on using every neuron."""

    labels: ClassVar = {"continue_dense": "continue-dense"}
    name: Literal["continue_dense"] = "continue_dense"

    def treatment(self, evidence: Evidence) -> Masked:
        """No masks."""
        del evidence
        return Masked()
