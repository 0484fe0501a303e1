"""A stand-in for an environment with unbabel-comet, whose `comet-score` writes the real format.

It takes the words that comet-score 2.2.7 takes, notes its calls, and scores a hypothesis by how
many of its letters are the reference's.
"""

import json
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import argparse, json, os, sys
parser = argparse.ArgumentParser()
for word in ("-s", "-r", "--to_json", "--model"):
    parser.add_argument(word)
parser.add_argument("-t", nargs="+")
parser.add_argument("--gpus", type=int, default=1)
parser.add_argument("--batch_size", type=int, default=16)
parser.add_argument("--quiet", action="store_true")
words = parser.parse_args()
data = [[line.strip() for line in open(path)] for path in (words.s, words.t[0], words.r)]
with open({calls!r}, "a") as file:
    call = dict(vars(words), sentences=len(data[0]), path=os.environ.get("PYTHONPATH"))
    file.write(json.dumps(call) + "\\n")
{before}
def score(mt, ref):
    return len(set(mt) & set(ref)) / max(len(set(mt) | set(ref)), 1)
rows = [dict(src=s, mt=m, ref=r, COMET=score(m, r)) for s, m, r in zip(*data)]
for number, row in enumerate(rows):
    print(words.t[0], "\\tSegment", number, "\\tscore:", row["COMET"])
{after}
with open(words.to_json, "w", encoding="utf-8") as file:
    json.dump({{words.t[0]: rows}}, file, ensure_ascii=False, indent=4)
"""


def segment_score(hypothesis: str, reference: str) -> float:
    """What the stand-in gives."""
    mt, ref = set(hypothesis.strip()), set(reference.strip())
    return len(mt & ref) / max(len(mt | ref), 1)


def comet_environment(folder: Path, *, before: str = "", after: str = "") -> Path:
    """Make an environment; lines of Python are run before and after the scoring."""
    program = folder / "bin" / "comet-score"
    program.parent.mkdir(parents=True, exist_ok=True)
    (folder / "lib/python3.11/site-packages/unbabel_comet-2.2.7.dist-info").mkdir(
        parents=True, exist_ok=True
    )
    text = _PROGRAM.format(
        python=sys.executable, calls=str(folder / "calls"), before=before, after=after
    )
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    return folder


def calls(environment: Path) -> list[dict]:
    """What the program was called with."""
    path = environment / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
