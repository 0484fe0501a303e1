"""Score runs, checkpoints and published outputs: `python evaluate.py run=runs/NAME`.

Thin by design: `nsmt evaluate` is the same. `--help` lists what can be chosen.
"""

import sys

from nsmt.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
