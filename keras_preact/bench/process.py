"""A process that answers one request after the other, and may fail without affecting others."""

import contextlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any


class Answering:
    """A process that answers each line on its standard input with one JSON object per line.

    Args:
        command: Its command; it answers once when it is ready.
        environment: Its environment variables.

    Attributes:
        failure: Why it has failed; `None` as long as it answers.
        pid: Its process id.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]):
        self.failure: str | None = None
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True,
        }  # fmt: skip
        self._process = subprocess.Popen(command, env=environment, **pipes)
        self.pid = self._process.pid

    def ask(self, line: str | None = None) -> Any:
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
        """Kills the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
