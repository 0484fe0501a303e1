"""Models whose weights are spread over the ranks (FSDP2), and whole again."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from nsmt.models.transformer import Transformer
from nsmt.training.world import rank


def shard(model: Transformer, mesh: DeviceMesh) -> None:
    """Spread each layer's weights over the ranks of a mesh; what is left goes as one more part.

    The embeddings, of which the loss needs the output's after the forward pass, are that part: it
    stays whole from the forward pass to the end of the backward pass.
    """
    if isinstance(model, FSDPModule):
        return
    adapters = () if model.adapters is None else (*model.adapters.encoder, *model.adapters.decoder)
    for layer in (*model.encoder_stack, *model.decoder_stack, *adapters):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def output_weight(model: Transformer) -> Tensor:
    """The output projection's weight after a forward pass: whole, whatever the ranks hold of it."""
    if isinstance(model, FSDPModule):
        # A forward pass without gradients has let go of it.
        model.unshard()
    return model.output.weight


def whole(model: Transformer) -> Transformer:
    """A model with all weights, on the CPU; the model itself if it is not sharded.

    All ranks must call this; the weights come together in the first.
    """
    if not isinstance(model, FSDPModule):
        return model
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    gathered = Transformer(model.settings, vocabulary_size=model.output.out_features, pad=model.pad)
    if model.adapters is not None:
        gathered.adapters = model.adapters.anew(model.settings)
    if rank() == 0:
        gathered.load_state_dict(weights)
    return gathered
