"""Tensors as safetensors files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

_ERROR = re.compile(r"os error (\d+)")


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: dict[str, str] | None = None
) -> None:
    """Write a file; what the system refuses is an OSError, as with any other file.

    Who may read it is for the umask to say, as with any other file. A failure leaves what there is:
    write within `nsmt.files`' replacements.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        safetensors.torch.save_file(dict(tensors), str(path), metadata=metadata)
        # What the library writes, nobody but the owner may read: others share runs by their group.
        path.chmod(mode)
    except SafetensorError as error:
        if (found := _ERROR.search(str(error))) is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error
