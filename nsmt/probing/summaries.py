"""Matrices of directions as plain data: the values, and their means by how directions relate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nsmt.languages import Direction, LanguageTable
from nsmt.probing.gradients import ByPart
from nsmt.probing.ranks import spearman
from nsmt.probing.relations import mean_of, relations
from nsmt.probing.transfer import Transfer

_DIGITS = 8


def plain_cosines(
    products: ByPart, directions: Sequence[Direction], languages: LanguageTable
) -> dict[str, Any]:
    """By part and place the cosines, null where one is not defined, and means by relation."""
    pairs = relations(directions, languages)
    found: dict[str, Any] = {}
    for part, of_place in products.items():
        found[part] = {}
        for place, its_products in of_place.items():
            cosine_TT = its_products.cosine()
            means = {name: mean_of(cosine_TT, of_name) for name, of_name in pairs.items()}
            found[part][place] = {
                "matrix": plain_matrix(cosine_TT),
                "means": {
                    name: {"mean": mean, "pairs": count} for name, (mean, count) in means.items()
                },
            }
    return found


def plain_transfer(
    transfer: Transfer, directions: Sequence[Direction], languages: LanguageTable
) -> dict[str, Any]:
    """Both matrices, how well one foretells the other between directions, and means by relation."""
    pairs = relations(directions, languages)
    apart = ~torch.eye(len(directions), dtype=torch.bool)
    actual, predicted = transfer.actual_TT[apart], transfer.predicted_TT[apart]
    square = (predicted * predicted).sum().item()
    return {
        "actual": plain_matrix(transfer.actual_TT),
        "predicted": plain_matrix(transfer.predicted_TT),
        "eta": transfer.eta_T.tolist(),
        "own": transfer.actual_TT.diagonal().mean().item(),
        "own predicted": transfer.predicted_TT.diagonal().mean().item(),
        "rank correlation": spearman(actual.numpy(), predicted.numpy())
        if len(actual) > 1
        else None,
        "slope": (actual * predicted).sum().item() / square if square > 0 else None,
        "means": {
            name: {
                "actual": mean_of(transfer.actual_TT, of_name)[0],
                "predicted": mean_of(transfer.predicted_TT, of_name)[0],
                "pairs": len(of_name),
            }
            for name, of_name in pairs.items()
        },
    }


def plain_matrix(matrix_TT: Tensor) -> list[list[float | None]]:
    """Rows of numbers to eight digits; null for what is not a number."""
    return [
        [None if value != value else float(f"{value:.{_DIGITS}g}") for value in row]
        for row in matrix_TT.tolist()
    ]
