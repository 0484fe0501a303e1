"""Any override is answered: with a check, or by key and value, the fix and no traceback.

NSMT_EXAMPLES=2000 tries other and more words than the suite does.
"""

import contextlib
import io
import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_run import SMALL

from nsmt.cli import main
from nsmt.commands.compose import conf_folder, key_paths
from nsmt.commands.config import RunConfig
from nsmt.commands.registry import COMMANDS

# Commands beside `train`, with what they cannot do without; nothing of it is there.
OTHERS = {
    "evaluate": ("run=nowhere",),
    "identify": ("checkpoint=nowhere", "corpus=nowhere"),
    "sweep table": ("sweep=nowhere",),
}
KEYS = sorted(key_paths(RunConfig))
FILES = sorted(conf_folder().rglob("*.yaml"))
GROUPS = sorted({path.parent.relative_to(conf_folder()).as_posix() for path in FILES} - {"."})
HYDRA = [
    *("hydra.mode", "hydra.launcher.n_jobs", "hydra/launcher", "hydra/sweeper", "hydra.sweep.dir"),
    *("hydra.job.name", "hydra.verbose", "hydra.run.dir", "hydra.nothing", "hydra/nothing"),
    *("hydra.sweeper.params", "hydra.output_subdir", "hydra.searchpath", "hydra"),
]
VALUES = st.one_of(
    st.sampled_from(
        [
            *("", "null", "true", "nan", "inf", "-inf", "-1", "0", "1e400", "9" * 400, "0x1f"),
            *("[]", "{}", "[1,2]", "{a:1}", "[[1]]", "'quoted'", "'unclosed", "a b", "a=b", "a,b"),
            *("${seed}", "${nothing}", "${oc.env:NOTHING}", "${", "$", "${oc.decode:x}", "???"),
            *("../up", "/", "~", "~/home", "a/b", "\\n", "ü", "\u202e", "x" * 300, "en-de", "-"),
            *("range(1,3)", "choice(1,2)", "interval(0,1)", "glob(*)", "int(x)", "sort(2,1)"),
        ]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
    st.sampled_from([path.stem for path in FILES]),
)


def words_of(keys):
    """Overrides of some keys, of groups and of Hydra's own, and what is none."""
    return st.one_of(
        st.tuples(
            st.sampled_from(["", "", "", "+", "++", "~"]),
            st.one_of(
                st.sampled_from(keys),
                st.sampled_from(keys),
                st.sampled_from(GROUPS),
                st.sampled_from(HYDRA),
                st.text(max_size=8),
            ),
            st.sampled_from(["=", "=", "=", "=", "", "==", "@x="]),
            VALUES,
        ).map("".join),
        st.text(max_size=20),
    )


def calls_of_others():
    """A command and words for it."""
    return st.sampled_from(sorted(OTHERS)).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.lists(words_of(sorted(key_paths(COMMANDS[name].schema))), min_size=1, max_size=2),
        )
    )


PLAIN = st.sampled_from(
    ["nan", "-1", "0", "x", "true", "null", "[]", "{a:1}", "1e400", "../up", "~"]
)


def answered(*words):
    """Run a command; its status and what it said on standard error."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            return int(end.code or 0), err.getvalue()
    return 0, err.getvalue()


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A working folder in which nothing may be written."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("NSMT_EXAMPLES", "200")),
    derandomize="NSMT_EXAMPLES" not in os.environ,
    deadline=timedelta(seconds=60),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(words_of(KEYS), min_size=1, max_size=2))
@example(["model.d_model=interval(0,1)"])
@example(["seed=${oc.env:NOTHING}"])
@example(["=", "\x00"])
@example(["callbacks=interval(0,1)"])
@example(["model=glob(none)"])
@example(["model=glob(*)"])
def test_any_words_are_checked_or_refused_without_a_traceback(empty, words):
    status, error = answered("train", "--check", *SMALL, *words)
    require_answer(status, error)
    assert not list(empty.iterdir())


def require_answer(status, error):
    assert status in (0, 2)
    assert "Traceback" not in error
    if status == 2:
        assert "error: " in error
        assert "fix: " in error


@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("NSMT_EXAMPLES", "150")),
    derandomize="NSMT_EXAMPLES" not in os.environ,
    deadline=timedelta(seconds=60),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(calls_of_others())
def test_other_commands_answer_too(empty, call):
    name, words = call
    require_answer(*answered(*name.split(), *OTHERS[name], *words))
    assert not list(empty.iterdir())


@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("NSMT_EXAMPLES", "120")),
    derandomize="NSMT_EXAMPLES" not in os.environ,
    deadline=timedelta(seconds=60),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(KEYS), PLAIN)
def test_a_refusal_names_the_key(empty, key, value):
    status, error = answered("train", "--check", *SMALL, f"{key}={value}")
    assert status in (0, 2)
    # Or a key that contains it, or that it does not fit together with.
    parts = key.split(".")
    named = any(".".join(parts[:end]) in error for end in range(len(parts), 0, -1))
    assert status == 0 or named, error
    assert not list(empty.iterdir())
