"""The shape of the Transformer, as configured by conf/model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nsmt.settings import Settings, Share

# Beyond, a slip of the keyboard would build layers until memory ends.
Layers = Annotated[int, Field(ge=1, le=1000)]
Size = Annotated[int, Field(ge=1, le=2**20)]


class ModelSettings(Settings):
    """A Transformer encoder-decoder with ReLU feed-forward layers."""

    encoder_layers: Layers
    decoder_layers: Layers
    d_model: Size = Field(description="width of the residual stream")
    d_ff: Size = Field(description="neurons of a feed-forward layer")
    heads: Size
    dropout: Share = 0.1
    attention_dropout: Share = 0.0
    activation_dropout: Share = 0.0
    max_positions: Size = Field(256, description="longest sequence, tag and </s> included")
    share_embeddings: Literal["none", "decoder", "all"] = Field(
        "decoder", description="tie the output projection to the decoder's, or all, embeddings"
    )
    norm: Literal["pre", "post"] = Field(
        "pre", description="layer norm before each sub-layer, or (post) of each sum behind it"
    )
    mask_bias: bool = Field(
        default=False,
        description="a masked neuron puts out 0 (true) or relu(bias), as in the paper (false)",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_model % (2 * self.heads):
            raise ValueError(f"d_model {self.d_model} must be a multiple of 2 x heads {self.heads}")
        return self
