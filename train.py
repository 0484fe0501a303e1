"""Train, specialise, test and report: `python train.py experiment=quickstart`.

Thin by design: `nsmt train` is the same. `--help` lists what can be chosen, `--check` validates.
"""

import sys

from nsmt.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
