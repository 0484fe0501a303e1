"""One batch of sentence pairs, which may mix directions, in the layout that the model reads.

Sequences follow the fairseq convention of the papers: source `[source tag] pieces </s>`, decoder
input `</s> [target tag] pieces`, target `[target tag] pieces </s>`. The target tag is predicted and
counted like any other token while training, and forced when decoding.

Shape suffixes: B sentences, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nsmt.languages import Direction


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """A padded batch; padding is to the right on both sides.

    `direction_B` holds rows of the run's list of directions. `update_tokens` is the number of
    target tokens of the whole update over all its batches and ranks: the one denominator of the
    loss (design contract 6).
    """

    source_BS: Tensor
    source_real_BS: Tensor
    target_in_BT: Tensor
    target_out_BT: Tensor
    target_real_BT: Tensor
    direction_B: Tensor
    update_tokens: int

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> BatchLayout:
        """The same batch on another device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return BatchLayout(
            source_BS=move(self.source_BS),
            source_real_BS=move(self.source_real_BS),
            target_in_BT=move(self.target_in_BT),
            target_out_BT=move(self.target_out_BT),
            target_real_BT=move(self.target_real_BT),
            direction_B=move(self.direction_B),
            update_tokens=self.update_tokens,
        )

    def __len__(self) -> int:
        return len(self.direction_B)


@dataclass(frozen=True, slots=True)
class SequenceFormat:
    """The special tokens that frame a sentence: padding, end, and each language's tag."""

    pad: int
    eos: int
    tags: dict[str, int]

    def source(self, pieces: np.ndarray, language: str) -> np.ndarray:
        """`[tag] pieces </s>`."""
        return np.concatenate(([self.tags[language]], pieces, [self.eos]))

    def collate(
        self,
        sources: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        directions: Sequence[Direction],
        *,
        rows: Sequence[int],
        update_tokens: int | None = None,
    ) -> BatchLayout:
        """Frame and pad pieces; `rows` are the directions' rows in the run's list.

        Without `update_tokens`, the batch is an update of its own.
        """
        pairs = list(zip(sources, targets, directions, strict=True))
        source_BS = self._pad([self.source(s, d.source) for s, _, d in pairs])
        out = [np.concatenate(([self.tags[d.target]], t, [self.eos])) for _, t, d in pairs]
        target_out_BT = self._pad(out)
        target_in_BT = torch.full_like(target_out_BT, self.pad)
        target_in_BT[:, 0] = self.eos
        target_in_BT[:, 1:] = target_out_BT[:, :-1].masked_fill(
            target_out_BT[:, :-1] == self.eos, self.pad
        )
        target_real_BT = target_out_BT != self.pad
        return BatchLayout(
            source_BS=source_BS,
            source_real_BS=source_BS != self.pad,
            target_in_BT=target_in_BT,
            target_out_BT=target_out_BT,
            target_real_BT=target_real_BT,
            direction_B=torch.tensor(rows, dtype=torch.int64),
            update_tokens=update_tokens or sum(len(sequence) for sequence in out),
        )

    def _pad(self, sequences: Sequence[np.ndarray]) -> Tensor:
        longest = max(len(sequence) for sequence in sequences)
        padded = np.full((len(sequences), longest), self.pad, dtype=np.int64)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = sequence
        return torch.from_numpy(padded)
