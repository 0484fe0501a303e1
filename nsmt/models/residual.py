"""Where a sub-layer has its layer norm: before it (pre-norm), or behind the sum it is added to.

Post-norm is Vaswani et al. 2017 (arXiv 1706.03762, section 3.1), LayerNorm(x + sublayer(x)), and
fairseq's `transformer_iwslt_de_en`, whose stacks end without a norm of their own; pre-norm,
x + sublayer(LayerNorm(x)), leaves the stream unnormalised, so its stacks end with one.
"""

from __future__ import annotations

from torch import Tensor, nn

from nsmt.models.settings import ModelSettings


class ResidualNorm(nn.LayerNorm):
    """The layer norm of one sub-layer, on the side that `settings.norm` says."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings.d_model)
        self.post = settings.norm == "post"

    def read(self, x_BSD: Tensor) -> Tensor:
        """What the sub-layer reads of the stream."""
        return x_BSD if self.post else self(x_BSD)

    def joined(self, x_BSD: Tensor, found_BSD: Tensor) -> Tensor:
        """The stream with what the sub-layer put out."""
        joined_BSD = x_BSD + found_BSD
        return self(joined_BSD) if self.post else joined_BSD


def final_norm(settings: ModelSettings) -> nn.Module:
    """What a stack ends with."""
    return nn.Identity() if settings.norm == "post" else nn.LayerNorm(settings.d_model)
