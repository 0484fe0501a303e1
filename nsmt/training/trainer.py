"""Lightning's Trainer as a stage needs it: devices, precision, strategy."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from nsmt.data.plan import BatchSettings
from nsmt.errors import ConfigurationError
from nsmt.models.packed_attention import kernel_serves
from nsmt.models.settings import ModelSettings
from nsmt.progress import console
from nsmt.training.settings import OptimizerSettings, TrainerSettings
from nsmt.training.world import backend_of, cluster_environment, rank

_LOG = logging.getLogger(__name__)
# Instructions of a CPU that multiply bf16; without any, bf16 is slower than fp32.
_BF16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def device_of(accelerator: str) -> str:
    """Torch's name of the device; ConfigurationError if it is not there."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigurationError(
            "a GPU is asked for, but torch sees none",
            fix="choose the CPU (trainer=cpu, or accelerator=cpu), or look at the driver",
        )
    return "cuda" if accelerator == "gpu" else "cpu"


def make_trainer(
    settings: TrainerSettings,
    *,
    folder: Path,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    updates: int = 1,
    validate_every: int | None = None,
    accumulation: int = 1,
    optimizer: OptimizerSettings | None = None,
) -> pl.Trainer:
    """A Trainer without Lightning's own checkpoints, samplers and bars."""
    quieten()
    trainer = pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=_strategy(settings),
        precision=chosen_precision(settings),
        deterministic=settings.deterministic,
        max_steps=updates,
        accumulate_grad_batches=accumulation,
        gradient_clip_val=(optimizer.clip_norm or None) if optimizer else None,
        val_check_interval=min(validate_every or updates, updates) * accumulation,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=list(loggers),
        callbacks=list(callbacks),
        plugins=[cluster_environment()],
        default_root_dir=folder,
    )
    # Signals are ours (nsmt.training.signals). Lightning's handler of SIGTERM talks to other ranks
    # and ends the process as if it had come to its end; and to ask all ranks before every
    # micro-batch whether one got it would make a GPU wait.
    _replace(trainer._signal_connector, "register_signal_handlers")
    _replace(trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor")
    return trainer


def _replace(part: object, method: str) -> None:
    """Have a method of Lightning's do nothing; another release may call it otherwise."""
    assert hasattr(part, method), f"this Lightning has no {method}"  # noqa: S101 -- ours to mend
    setattr(part, method, _nothing)


def set_loops(trainer: pl.Trainer, *, update: int) -> None:
    """Tell Lightning's loops that so many updates, and what was due after the last, are done."""
    done = update * trainer.accumulate_grad_batches
    counted = dict.fromkeys(("ready", "started", "processed", "completed"), done)
    stepped = {"total": dict.fromkeys(("ready", "completed"), update)}
    state = trainer.fit_loop.state_dict()
    started = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    state["epoch_progress"] = {"total": started, "current": dict(started)}
    progress = {"total": counted, "current": dict(counted), "is_last_batch": False}
    state["epoch_loop.batch_progress"] = progress
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    optimizer["step"] |= stepped | {"current": dict(stepped["total"])}
    trainer.fit_loop.load_state_dict(state)


def quieten() -> None:
    """Silence what Lightning says about things that are meant."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for harmless in (
        ".*does not have many workers.*",
        ".*Experiment logs directory.*",
        ".*LeafSpec.*is deprecated.*",
        # Its successor is not in torch 2.9.
        ".*`broadcast_buffers` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=harmless)
    warnings.filterwarnings("ignore", category=UserWarning, module="pytorch_lightning.*")


def set_machine(settings: TrainerSettings) -> None:
    """Give this rank its CPU threads and the precision of fp32 products on a GPU."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")


def chosen_precision(settings: TrainerSettings) -> Literal["32-true", "bf16-mixed"]:
    """The precision asked for; for `auto`, bf16 where the processor computes in it, which is said.

    By what the hardware can do, which is the same in every rank, not by a measurement.
    """
    if settings.precision != "auto":
        return settings.precision
    device = device_of(settings.accelerator)
    chosen: Literal["32-true", "bf16-mixed"]
    chosen = "bf16-mixed" if _has_bf16(device) else "32-true"
    if rank() == 0:
        console.print(f"precision=auto: {chosen}")
    return chosen


def packs(trainer: TrainerSettings, model: ModelSettings) -> bool:
    """Whether attention has a kernel for packed batches; by the configuration, on any machine."""
    device = "cuda" if trainer.accelerator == "gpu" else "cpu"
    kind = torch.float32 if trainer.precision == "32-true" else torch.bfloat16
    return kernel_serves(device, kind, width=model.d_model // model.heads)


def on_machine(
    batch: BatchSettings, trainer: TrainerSettings, model: ModelSettings
) -> BatchSettings:
    """How batches are laid out: packed on a GPU whose attention has a kernel for them.

    Without one, packed batches would be padded again for attention, to the longest sentence there
    is. Where the configuration asks for them all the same, a warning says so.
    """
    served = packs(trainer, model)
    chosen = batch.on(trainer.accelerator, packs=served)
    if trainer.accelerator == "gpu" and not served and rank() == 0:
        needs = "trainer.precision=bf16-mixed, and heads of a multiple of 8 up to 256"
        if chosen.layout == "packed":
            _LOG.warning(
                "packed batches are padded again for attention: its kernel needs %s", needs
            )
        elif batch.layout == "auto":
            console.print(f"batch.layout=auto: padded; packed would need {needs}")
    return chosen


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch names them with an underscore; a release without them trains in fp32.
    asked = (getattr(torch.cpu, name, None) for name in _BF16_CHECKS)
    return any(bool(check()) for check in asked if check is not None)


def _nothing() -> None:
    """Do nothing."""


def _strategy(settings: TrainerSettings) -> Strategy | str:
    if settings.world == 1:
        return "auto"
    backend = backend_of(settings)
    if settings.strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=settings.world,
            tensor_parallel_size=1,
            process_group_backend=backend,
        )
    return DDPStrategy(
        process_group_backend=backend,
        gradient_as_bucket_view=True,
        # Ranks may validate different numbers of batches, so nothing may sync in between.
        broadcast_buffers=False,
    )
