"""The birth certificate of a result (design contract 8): what made it, from what, where, when."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import nsmt
from nsmt.errors import DataError
from nsmt.files import replace_text

RECORD = "record.json"
LOG = "log.txt"
_CERTIFIED = {"command", "config", "seed", "data_fingerprint", "environment", "packages", "started"}
_PACKAGES = (
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "pyarrow",
    "sentencepiece",
    "sacrebleu",
    "sacremoses",
    "safetensors",
    # What compiles, and the peers of benchmarks.
    "triton",
    "transformers",
    "ctranslate2",
    "joeynmt",
)


def certificate(
    *, command: str, config: Mapping[str, Any], seed: int, fingerprint: str | None
) -> dict[str, Any]:
    """Everything that a number needs in order to be had again; `fingerprint` is the data's."""
    return {
        "command": command,
        "config": dict(config),
        "seed": seed,
        "data_fingerprint": fingerprint,
        "nsmt": nsmt.__version__,
        "commit": commit(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "environment": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "started": now(),
    }


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Put the certificate into a run folder."""
    replace_text(folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """The certificate of a run folder, empty where there is none; DataError if it is damaged."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        record = error
    if not isinstance(record, dict) or not record.keys() >= _CERTIFIED:
        raise DataError(
            f"{path} is damaged: it holds no certificate",
            fix="restore the file, or start the run again with resume=never",
        )
    return record


def certificate_entries(record: Mapping[str, Any]) -> dict[str, str]:
    """A certificate as names and values for a page."""
    environment = record["environment"]
    return {
        "command": record["command"],
        "seed": str(record["seed"]),
        "data": str(record["data_fingerprint"]),
        "nsmt": f"{record['nsmt']} ({record['commit'] or 'no checkout'})",
        "hardware": f"{environment['processor']}, {environment['threads']} threads"
        + (f", {environment['gpu']}" if environment["gpu"] else ""),
        "python": f"{environment['python']} on {environment['system']}",
        "packages": ", ".join(
            f"{name} {version}"
            for name, version in record["packages"].items()
            if version is not None
        ),
        "started": record["started"],
        "resumed after": "; ".join(
            f"{attempt['commit']}, {attempt['started']}" for attempt in record.get("resumed", [])
        )
        or "no interruption",
        "finished": record.get("finished", "no stages to finish"),
    }


def log_into(folder: Path) -> None:
    """Append what nsmt's loggers say to the run folder's log, with the time in UTC."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / LOG, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)sZ %(name)s %(levelname)s %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger("nsmt")
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # The terminal has bars and tables; the file has the story.
    logger.propagate = False


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str | None:
    """The commit of the checkout, marked if files were changed since.

    Where there is no checkout, as in a container, what NSMT_COMMIT says; None without either.
    """
    root = Path(nsmt.__file__).parent.parent
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("NSMT_COMMIT") or None
    return f"{head}, with changes" if changed else head


def command_line() -> str:
    """How this process was called, by the name of its script; Hydra gets another `sys.argv`."""
    script, *words = sys.orig_argv[1:] or sys.argv
    return " ".join([Path(script).name, *words])


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 -- fixed words
        ["git", "-C", str(root), *arguments],  # noqa: S607 -- the user's own git
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
