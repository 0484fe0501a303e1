"""Lightning's Trainer as a stage needs it: devices, ranks, loggers, callbacks."""

from __future__ import annotations

import csv
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from nsmt.errors import ConfigurationError
from nsmt.progress import console
from nsmt.training.settings import LoggerSettings, OptimizerSettings, TrainerSettings
from nsmt.training.states import StageState

# Instructions of a CPU that multiply bf16; without any, bf16 is slower than fp32.
_BF16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def launched() -> bool:
    """Whether a launcher (torchrun, srun) started this process as one of several ranks."""
    return "WORLD_SIZE" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def launch_identity() -> str:
    """The same text in all ranks of one launch, and another in the next launch."""
    names = "TORCHELASTIC_RUN_ID TORCHELASTIC_RESTART_COUNT MASTER_PORT SLURM_JOB_ID SLURM_STEP_ID"
    return " ".join(f"{name}={os.environ.get(name, '')}" for name in names.split())


def rank() -> int:
    """This process's rank, before any process group exists."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) if launched() else 0)


def device_of(accelerator: str) -> str:
    """Torch's name of the device; ConfigurationError if it is not there."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigurationError(
            "a GPU is asked for, but torch sees none",
            fix="choose the CPU (trainer=cpu, or accelerator=cpu), or look at the driver",
        )
    return "cuda" if accelerator == "gpu" else "cpu"


def check_world(settings: TrainerSettings) -> None:
    """Compare the ranks that the launcher started with those asked for."""
    if not launched():
        if settings.num_nodes > 1:
            raise ConfigurationError(
                f"trainer.num_nodes={settings.num_nodes} needs a launcher on every node",
                fix="start this command by srun, or by torchrun on each node",
            )
        return
    found = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")))
    if found != settings.world:
        raise ConfigurationError(
            f"the launcher started {found} ranks, trainer.devices x trainer.num_nodes asks for "
            f"{settings.world}",
            fix=f"set both so that their product is {found}, or launch {settings.world} ranks",
        )


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
        # Its way to requeue a job writes from within a signal handler, by pickle.
        plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
        default_root_dir=folder,
    )
    # It would ask all ranks before every micro-batch whether one got SIGTERM, and make a GPU wait;
    # signals are ours (nsmt.training.resuming).
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
    return trainer


@contextmanager
def open_loggers(
    settings: LoggerSettings, *, folder: Path, run: str, stage: str, state: StageState | None = None
) -> Iterator[list[Logger]]:
    """metrics.csv, and the tracker that was asked for; always closed.

    With the state of a stage that goes on, they go on too.
    """
    table = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    if state is not None:
        # It writes a new file; these rows come first.
        for row in csv.DictReader(io.StringIO(state.metrics)):
            table.experiment.metrics.append({key: value for key, value in row.items() if value})
    loggers: list[Logger] = [table]
    if settings.kind == "tensorboard":
        # What was logged after the state is hidden.
        since = None if state is None else state.update + 1
        loggers.append(TensorBoardLogger(folder, name="", version="tensorboard", purge_step=since))
    if settings.kind == "wandb":
        keyless = "WANDB_API_KEY" not in os.environ
        offline = keyless if settings.offline is None else settings.offline
        loggers.append(
            WandbLogger(
                name=f"{run}/{stage}",
                id=f"{run}-{stage}".replace("/", "-"),
                group=run,
                project=settings.project,
                save_dir=folder,
                offline=offline,
                resume="allow",
            )
        )
    status = "failed"
    try:
        yield loggers
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
        if settings.kind == "wandb":
            import wandb  # slow to import, and only some runs want it

            wandb.finish()


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
    backend = "nccl" if settings.accelerator == "gpu" else "gloo"
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
