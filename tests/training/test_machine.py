"""What the configuration leaves to the machine."""

import pytest

from nsmt.data.plan import BatchSettings
from nsmt.models.settings import ModelSettings
from nsmt.training.settings import TrainerSettings
from nsmt.training.trainer import on_machine

BF16, FP32 = "bf16-mixed", "32-true"


def model(width, heads=2):
    return ModelSettings(
        encoder_layers=1, decoder_layers=1, d_model=width * heads, d_ff=8, heads=heads
    )


@pytest.mark.parametrize(
    ("precision", "width", "layout"),
    [
        (BF16, 64, "packed"),
        (BF16, 256, "packed"),
        # Without a kernel, attention would pad every sentence to the longest of the run.
        (FP32, 64, "padded"),
        (BF16, 20, "padded"),
        (BF16, 264, "padded"),
    ],
)
def test_a_gpu_gets_packed_batches_where_attention_has_a_kernel(precision, width, layout):
    trainer = TrainerSettings(accelerator="gpu", precision=precision)
    assert on_machine(BatchSettings(), trainer, model(width)).layout == layout


def test_packed_batches_that_are_asked_for_without_a_kernel_are_a_warning(caplog):
    asked = BatchSettings(layout="packed")
    gpu = TrainerSettings(accelerator="gpu", precision=FP32)
    assert on_machine(asked, gpu, model(64)).layout == "packed"
    assert "padded again" in caplog.text
    assert "bf16-mixed" in caplog.text
    caplog.clear()
    on_machine(asked, TrainerSettings(accelerator="gpu", precision=BF16), model(64))
    # A CPU has no kernel to miss.
    on_machine(asked, TrainerSettings(), model(64))
    assert not caplog.text


def test_a_run_is_called_the_same_before_and_after_its_layout_is_decided(small_config):
    words = ("trainer.accelerator=gpu", "trainer.precision=32-true")
    config = small_config(*words)
    batch = on_machine(config.batch, config.trainer, config.model)
    assert batch.layout == "padded"
    assert config.model_copy(update={"batch": batch}).run_name == config.run_name
