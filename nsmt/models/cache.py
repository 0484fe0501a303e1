"""Keys and values of what was decoded so far, for beams that change their order without copying.

Every step writes the keys and values of all K beams of a sentence into fresh slots, and nothing is
moved when beams are reordered. `_seen_BKJ` says which slots belong to the history of each beam; a
beam attends to those alone. Reordering it moves bits instead of megabytes.

Shape suffixes: B sentences, K beams, J slots (K of each step), H heads, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nsmt.models.attention import KeyValues

# Steps that room is made for at a time.
_STEPS = 8


class SelfCache:
    """The keys and values of one layer's self-attention."""

    def __init__(self) -> None:
        self._held: KeyValues | None = None
        self._used = 0

    @property
    def full(self) -> bool:
        """Whether the next step needs more room."""
        return self._held is not None and self._used == self._held.keys.shape[1]

    def prune(self, slots_BJ: Tensor) -> None:
        """Keep some slots of each sentence, in the order given."""
        if self._held is not None:
            rows = torch.arange(len(slots_BJ), device=slots_BJ.device)[:, None]
            held = self._held
            self._held = KeyValues(held.keys[rows, slots_BJ], held.values[rows, slots_BJ])
            self._used = slots_BJ.shape[1]

    def extended(self, new: KeyValues) -> KeyValues:
        """Add a step, [B, K, H, E]; what all steps put in: [B, J, H, E]."""
        width = new.keys.shape[1]
        end = self._used + width
        if self._held is None or self._held.keys.shape[1] < end:
            before = self._held or KeyValues(new.keys[:, :0], new.values[:, :0])
            room = self._used + _STEPS * width
            self._held = KeyValues(_roomier(before.keys, room), _roomier(before.values, room))
        self._held.keys[:, self._used : end] = new.keys
        self._held.values[:, self._used : end] = new.values
        self._used = end
        return KeyValues(self._held.keys[:, :end], self._held.values[:, :end])

    def take(self, rows: Tensor) -> None:
        """Go on with some sentences only."""
        if self._held is not None:
            self._held = self._held.take(rows)


def _roomier(old: Tensor, room: int) -> Tensor:
    """A copy with `room` slots."""
    larger = old.new_empty(len(old), room, *old.shape[2:])
    larger[:, : old.shape[1]] = old
    return larger


class DecoderCache:
    """The caches of all layers of a decoder, for a batch of sentences with K beams each."""

    def __init__(self, layers: int, *, sentences: int, device: torch.device | str) -> None:
        self.layers = [SelfCache() for _ in range(layers)]
        self.length = 0
        self._seen_BKJ = torch.zeros(sentences, 1, 0, dtype=torch.bool, device=device)

    def grow(self) -> Tensor:
        """Let each beam see the step to come as well; what each beam sees: [B, K, J]."""
        if self.layers[0].full:
            self._prune()
        batch, width = self._seen_BKJ.shape[:2]
        own = torch.eye(width, dtype=torch.bool, device=self._seen_BKJ.device)
        self._seen_BKJ = torch.cat((self._seen_BKJ, own.expand(batch, -1, -1)), dim=2)
        self.length += 1
        return self._seen_BKJ

    def reorder(self, origin_BK: Tensor) -> None:
        """Go on with other beams of each sentence, as many as wanted."""
        chosen = origin_BK[..., None].expand(-1, -1, self._seen_BKJ.shape[-1])
        self._seen_BKJ = self._seen_BKJ.gather(1, chosen)

    def take(self, rows: Tensor) -> None:
        """Go on with some sentences only."""
        self._seen_BKJ = self._seen_BKJ[rows]
        for layer in self.layers:
            layer.take(rows)

    def _prune(self) -> None:
        """Drop the slots that no beam sees any more: most, as beams share what they began with."""
        alive_BJ = self._seen_BKJ.any(dim=1)
        most = int(alive_BJ.sum(1).max())
        slots_BJ = alive_BJ.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
        chosen = slots_BJ[:, None].expand(-1, self._seen_BKJ.shape[1], -1)
        self._seen_BKJ = self._seen_BKJ.gather(2, chosen)
        for layer in self.layers:
            layer.prune(slots_BJ)
