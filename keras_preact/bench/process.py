"""A process that is asked for one thing after the other, and may fail without harm to others."""

import contextlib
import json
import subprocess


class Answering:
    """A process that answers lines on its input by a JSON object a line.

    Args:
        command: What it runs; it answers once when it is ready.
        environment: Its variables.

    Attributes:
        failure: Why it answers no more; `None` as long as it does.
        pid: Its number.
    """

    def __init__(self, command, environment):
        self.failure = None
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=environment, **pipes)
        self.pid = self._process.pid

    def ask(self, line=None):
        """Sends a line and returns the answer; `None` once the process has failed."""
        if self.failure:
            return None
        try:
            if line:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.failure = f"ended with code {self._process.wait()}"
            return None
        answer = json.loads(answer)
        if "failure" in answer:
            self.failure = answer["failure"]
            return None
        return answer

    def end(self) -> None:
        """Ends the process, whatever it does."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
