"""Masks of weights as tensors of their shapes, for tests."""

import math

from nsmt.neurons.atlas import unpack_bits


def mask_of(masks, task, name):
    """Which weights of a matrix a direction uses: bool, of the matrix's shape."""
    shape = masks.shapes[name]
    return unpack_bits(masks.packed[name][masks.row(task)], math.prod(shape)).view(shape)
