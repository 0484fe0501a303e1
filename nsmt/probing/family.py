"""Do related languages share neurons, and how does sharing change with depth.

After Neuron Specialization (arXiv 2404.11201), section 5.1: encoders over X→pivot, decoders over
pivot→X. The paper shows heat maps; here the overlap within families is compared with that between
them, by a rank correlation that is tested over languages (`nsmt.probing.ranks`).

The shape bars: from the first layer to the last the decoders' mean overlap falls by 0.15 at least,
and the encoders' rises. Whether they hold is said either way.

Languages of unknown family are in the mean over all pairs, and in nothing else.

Shape suffixes: L languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from nsmt.languages import Direction, LanguageTable
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import pair_values, shares
from nsmt.probing.language_facts import known_places, relation_matrix
from nsmt.probing.ranks import Floats, mantel
from nsmt.probing.settings import FamilySettings

DECODER_FALL: Final = 0.15


def family_overlap(
    atlas: NeuronAtlas, languages: LanguageTable, settings: FamilySettings, *, pivot: str
) -> dict[str, Any]:
    """Plain data by stack: each layer, the mean over layers, and the shape bars.

    A stack with fewer than two languages is left out.
    """
    stacks = {}
    for stack, found in shares(atlas, pivot=pivot).items():
        if len(found.tasks) < 2:
            continue
        codes = [Direction.parse(task).other(pivot) for task in found.tasks]
        same_LL = relation_matrix(codes, "same family", languages)
        stacks[stack] = {
            "languages": codes,
            "layers": {
                site.name: _compared(iou_LL, same_LL, settings) | {"chance": chance}
                for site, iou_LL, chance in zip(found.sites, found.iou, found.chance, strict=True)
            },
            "mean over layers": _compared(torch.stack(found.iou).mean(0), same_LL, settings),
        }
    return {"stacks": stacks, "shape": shape_bars(stacks)}


def shape_bars(stacks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The change of the mean overlap from the first layer to the last, against its bar."""
    found = []
    for stack, sign, bar in (("decoder", -1, DECODER_FALL), ("encoder", 1, 0.0)):
        if stack not in stacks or len(stacks[stack]["layers"]) < 2:
            continue
        means = [layer["all"] for layer in stacks[stack]["layers"].values()]
        change = means[-1] - means[0]
        found.append(
            {
                "stack": stack,
                "first": means[0],
                "last": means[-1],
                "change": change,
                "bar": f"falls by {bar:g} at least" if sign < 0 else "rises",
                "holds": sign * change >= bar if sign < 0 else change > 0,
            }
        )
    return found


def _compared(iou_LL: Tensor, same_LL: Floats, settings: FamilySettings) -> dict[str, Any]:
    """`same_LL` is 1, 0, or not-a-number where a family is not known."""
    values, same = pair_values(iou_LL), pair_values(torch.from_numpy(same_LL))
    related, unrelated = values[same == 1], values[same == 0]
    some = np.ix_(*2 * [known_places(same_LL)])
    tested = mantel(
        iou_LL.numpy()[some], same_LL[some], permutations=settings.permutations, seed=settings.seed
    )
    return {
        "all": values.mean().item(),
        "related": related.mean().item() if len(related) else None,
        "unrelated": unrelated.mean().item() if len(unrelated) else None,
        "related pairs": len(related),
        "unrelated pairs": len(unrelated),
        "mantel": asdict(tested),
    }
