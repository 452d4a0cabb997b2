"""Signals that come while Python does not hear them."""

import signal
import subprocess
import sys

import pytest

#: A process that is told to end while a long call, such as a compiler's, does not return.
PROGRAM = """
import os, signal, sys, time
from keras_preact.training import signals
from keras_preact.training.signals import Signals

signals.GRACE = 0.1
with Signals(lambda: {words}) as asked:
    os.kill(os.getpid(), {number})
    time.sleep({long})
print("went on", asked.number)
"""


def ended(words, number, long):
    program = PROGRAM.format(words=words, number=number, long=long)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.splitlines()[-1:]


def test_sigterm_ends_what_has_nothing_to_lose():
    assert ended("'Nothing is lost.'", signal.SIGTERM, 60) == (
        143,
        "",
        ["keras-preact: Nothing is lost."],
    )


@pytest.mark.parametrize(
    ("words", "number", "long"),
    [
        (None, signal.SIGTERM, 0.5),  # something would be lost
        ("'Nothing is lost.'", signal.SIGINT, 0.5),  # a notebook goes on
        ("'Nothing is lost.'", signal.SIGTERM, 0),  # it ends by itself
    ],
)
def test_otherwise_the_training_ends_itself(words, number, long):
    assert ended(words, number, long) == (0, f"went on {number:d}\n", [])
