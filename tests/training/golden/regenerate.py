"""Write the golden losses again: only with a reason that goes into the changelog."""

import csv
import json
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from small_run import SMALL, train_stages  # noqa: E402
from training.test_stages import DENSE, EVERY_LOSS  # noqa: E402

from nsmt.commands.compose import composed  # noqa: E402
from nsmt.commands.config import RunConfig  # noqa: E402

if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        paths = (f"paths.runs={place}/runs", f"paths.corpora={place}/corpora")
        config = composed("train", [*SMALL, *DENSE, *EVERY_LOSS, *paths], RunConfig)
        train_stages(config)
        with (config.folder / "dense" / "metrics.csv").open() as file:
            values = [float(row["train/nll"]) for row in csv.DictReader(file) if row["train/nll"]]
    golden = {"torch": torch.__version__.split("+")[0], "train/nll": values}
    (HERE / "synthetic-dense.json").write_text(json.dumps(golden, indent=1) + "\n")
