"""What a run hears of signals."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from nsmt.errors import PreemptionError
from nsmt.training.signals import STOPPING, StopSignal


def ask(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def listening(task, tell=None):
    """Run a task; where it is given somebody to tell, signals are held meanwhile."""
    with StopSignal().listening() as stop:
        if tell is None:
            task()
        else:
            with stop.holding(tell):
                task()


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_ends_what_keeps_nothing_at_once(number):
    before = signal.getsignal(number)
    with pytest.raises(PreemptionError, match=number.name):
        listening(lambda: (ask(number), pytest.fail("it went on")))
    assert signal.getsignal(number) == before


def test_where_it_is_held_a_signal_only_asks_and_is_obeyed_at_the_end():
    done, told = [], []
    with pytest.raises(PreemptionError, match="SIGTERM"):
        listening(lambda: (ask(), ask(signal.SIGUSR1), done.append("what was begun")), told.append)
    assert done
    assert told == [signal.SIGTERM, signal.SIGUSR1]


def test_a_request_that_was_swallowed_is_obeyed_before_more_is_held():
    with StopSignal().listening() as stop:
        with suppress(PreemptionError):
            ask()
        with pytest.raises(PreemptionError), stop.holding():
            pytest.fail("it began")


def test_errors_of_what_is_held_come_first():
    with pytest.raises(ZeroDivisionError):
        listening(lambda: (ask(), 1 / 0), lambda number: None)


def test_one_request_that_comes_several_times_is_one():
    """A parent of several threads that dies is told of by each."""
    with StopSignal().listening() as stop, suppress(PreemptionError), stop.holding():
        for _ in range(3):
            ask()
    assert stop.asked == signal.SIGTERM


def test_a_second_request_ends_the_process_at_once():
    code = """
import time
from nsmt.training.signals import StopSignal
with StopSignal().listening() as stop, stop.holding():
    print("listening", flush=True)
    time.sleep(60)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    child.terminate()
    time.sleep(3.5)
    assert child.poll() is None
    child.terminate()
    assert child.wait(10) == -signal.SIGTERM
