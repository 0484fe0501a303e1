import os

import pytest
import torch

from nsmt.tensors import save_tensors


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
@pytest.mark.parametrize("again", [False, True])
def test_files_may_be_read_by_whom_the_umask_lets(tmp_path, mask, mode, again):
    path = tmp_path / "some.safetensors"
    before = os.umask(mask)
    try:
        for _ in range(1 + again):
            save_tensors(path, {"x": torch.arange(3)})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_what_the_system_refuses_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_tensors(tmp_path / "nowhere" / "some.safetensors", {"x": torch.arange(3)})
