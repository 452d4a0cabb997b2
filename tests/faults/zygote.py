"""A process that has imported everything and forks a child for each training, or plan of them.

Faults are real: the children are killed with SIGKILL. What saves time is that none of them has to
import TensorFlow. A line of JSON on standard input is a list of jobs, which are trained at the same
time: `config` or `plan`, and the faults that are to come. The answers are a line with the
children's process ids and, when they are gone, one for each with its status and what it said.
"""

import gc
import importlib.machinery
import json
import os
import resource
import signal
import sys
import traceback

if os.environ.get("KERAS_BACKEND") == "jax":  # else Keras imports TensorFlow, to set its seed
    find_spec = importlib.machinery.PathFinder.find_spec
    importlib.machinery.PathFinder.find_spec = lambda name, *arguments, **options: (
        None if name == "tensorflow" else find_spec(name, *arguments, **options)
    )

import filelock  # noqa: F401
import scipy.stats  # noqa: F401

from keras_preact import TrainConfig, export, load_data
from keras_preact.cli import exit_code
from keras_preact.papers import ReproduceConfig, report, reproduce_plan
from keras_preact.run import RunFolder
from keras_preact.training import finish, peers, trainer

load_data("digits")

# What follows the last step is tested elsewhere, and takes longer than these trainings.
INSTEAD = {
    "plot_curves": lambda *arguments: None,
    "plot_confusion_matrix": lambda *arguments: None,
    "plot_predictions": lambda *arguments: None,
    "save_figure": lambda figure, path: path.touch(),
}
for name, function in INSTEAD.items():
    assert hasattr(finish, name), f"{name} is not what draws"
    setattr(finish, name, function)
export.export_saved_model = lambda model, path, *_: os.mkdir(path)
assert hasattr(report, "_figures")
report._figures = lambda *arguments: {}
gc.freeze()  # what was imported is the children's too, and is no garbage


#: Where the functions are that can go wrong; `append_log` counts the lines of the logs.
OWNERS = {"append_log": RunFolder}


def patch(faults):
    """Kills, fails or is sent a signal at the n-th call of a function, before or after it.

    That it counts, and does not wait for a time, lets it happen in the same step on a machine that
    is slow or busy.
    """
    calls = dict.fromkeys(faults, 0)

    def faulty(name, function):
        number, moment = faults[name]

        def call(*arguments, **options):
            calls[name] += 1
            hit = calls[name] == number
            if hit and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if hit and moment == "full":
                raise OSError(28, "No space left on device")
            result = function(*arguments, **options)
            if hit and moment == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            if hit and moment.startswith("SIG"):
                os.kill(os.getpid(), signal.Signals[moment])
            return result

        return call

    for name in faults:
        owner = OWNERS.get(name, os)
        setattr(owner, name, faulty(name, getattr(owner, name)))


def child(job):
    """Trains; the exit code, and the line that the command would say."""
    signal.alarm(300)  # the end of one that hangs; without faults they take seconds
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    peers.LOST = job.get("lost", peers.LOST)
    if limit := job.get("largest_file"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        patch(job.get("faults", {}))
        if "plan" in job:
            reproduce_plan([ReproduceConfig.from_dict(entry) for entry in job["plan"]])
        else:
            trainer.train(TrainConfig.from_dict(job["config"]))
    except BaseException as error:
        code, message = exit_code(error)
        return code, message or traceback.format_exc()
    return 0, ""


def begin(job):
    """Starts a child; its process id, and where it is to be heard from."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code, message = child(job)
        with open(write, "w") as pipe:
            pipe.write(message)
        os._exit(code)
    os.close(write)
    return pid, read


print("ready", flush=True)
for line in sys.stdin:
    children = [begin(job) for job in json.loads(line)]
    print(json.dumps([pid for pid, _ in children]), flush=True)
    for pid, read in children:
        with open(read) as pipe:
            message = pipe.read()
        print(json.dumps([os.waitpid(pid, 0)[1], message]), flush=True)
