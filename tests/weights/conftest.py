"""What tests of weights share."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse

import h5py
import keras
import pytest

from keras_preact.weights import fetch


class Server:
    """Files over HTTP on this machine.

    Attributes:
        files: What it has, by path.
        faults: What is wrong with its next answers, a dictionary each: `status`, `location`,
            `cut` (the bytes after which it hangs up), `pause` (seconds between them), `ranged`
            (whether it heeds a range), `length` (`None` says none), `endless`, `garbage`.
        asked: The paths that were asked for.
        ranges: The ranges of them.
        sent: The bytes that were sent.
        silent: While it is not set, nobody gets an answer, nor what is behind a `cut`.
    """

    def __init__(self):
        self.files, self.faults, self.asked, self.ranges, self.sent = {}, [], [], [], 0
        self.silent = threading.Event()
        self.silent.set()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.asked.append(self.path)
                owner.ranges.append(self.headers["Range"])
                fault = owner.faults.pop(0) if owner.faults else {}
                if "cut" not in fault:
                    owner.silent.wait()
                with contextlib.suppress(OSError):  # the other side is gone
                    owner.answer(self, fault)

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler, fault):
        data, begin = fault.get("data", self.files.get(handler.path)), 0
        if "garbage" in fault:
            handler.wfile.write(fault["garbage"])
            return
        status = fault.get("status", 404 if data is None else 200)
        if handler.headers["Range"] and fault.get("ranged", True) and status == 200:
            begin = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
            status = 206 if begin < len(data) else 416
        handler.send_response(status)
        if status == 206:
            begin -= fault.get("back", 0)
            handler.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        if status >= 300:
            handler.send_header("Location", fault.get("location", ""))
            data = b""
        length = fault.get("length", len(data) - begin)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        rest = data[begin : fault.get("cut")]
        while rest or (fault.get("endless") and self.sent < 10**8):
            piece = rest[:10_000] or bytes(10_000)
            # Counted first: who has received it may ask how many there were.
            rest, self.sent = rest[len(piece) :], self.sent + len(piece)
            handler.wfile.write(piece)
            time.sleep(fault.get("pause", 0))
        if "cut" in fault:
            handler.wfile.flush()
            self.silent.wait()

    def close(self):
        self.silent.set()
        self.http.shutdown()
        self.http.server_close()


class Hub:
    """Repositories over HTTP.

    Attributes:
        repos: `{name: {file: bytes}}`.
        private: Names of those for which a token is wanted.
        asked: Method and path of each request.
        commits: What was committed, `(name, message, files)`.
        status: What it answers to everything, where that is set.
        sent: Bytes of files that were sent.
        on_piece: Called before each piece of a file, with the bytes that were sent by then.
    """

    def __init__(self):
        self.repos, self.private, self.asked, self.commits = {}, set(), [], []
        self.status, self.sent, self.on_piece = None, 0, lambda sent: None
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                with contextlib.suppress(ConnectionError):  # the other side was killed
                    super().handle_one_request()

            def do_GET(self):
                owner.answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def sha(self, name):
        """The commit that a repository is at."""
        digest = hashlib.sha1(usedforsecurity=False)
        for file, data in sorted(self.repos[name].items()):
            digest.update(file.encode() + data)
        return digest.hexdigest()

    def answer(self, handler):
        path = urllib.parse.unquote(handler.path.partition("?")[0])
        body = handler.rfile.read(int(handler.headers["Content-Length"] or 0))
        self.asked.append((handler.command, path))
        if self.status:
            return self.send(handler, self.status, {"error": "as it was told"})
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.repos.setdefault(name, {})
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.private.add(name)
            return self.send(handler, 200, {"url": f"{self.url}/{name}", "name": name})
        if path == "/api/validate-yaml":
            return self.send(handler, 200, {"errors": [], "warnings": []})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w+)/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name = (found or file or [None, None])[1]
        if name not in self.repos:
            return self.send(handler, 401, {"error": "Repository not found"}, "RepoNotFound")
        if name in self.private and not handler.headers["Authorization"]:
            return self.send(handler, 401, {"error": "Repository not found"}, "RepoNotFound")
        if file:
            return self.send_file(handler, name, file[2], file[3])
        if found[2] == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self.send(handler, 200, {"files": files})
        if found[2] == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            self.repos[name] |= files
            self.commits.append((name, lines[0]["value"]["summary"], files))
            url = f"{self.url}/{name}/commit/{self.sha(name)}"
            answer = {"commitUrl": url, "commitOid": self.sha(name), "pullRequestUrl": None}
            return self.send(handler, 200, answer)
        if found[2] == "revision" and found[3] not in ("main", self.sha(name)):
            return self.send(handler, 404, {"error": "Revision not found"}, "RevisionNotFound")
        siblings = [{"rfilename": f, "size": len(d)} for f, d in self.repos[name].items()]
        about = {"id": name, "modelId": name, "sha": self.sha(name), "siblings": siblings}
        return self.send(handler, 200, {**about, "private": name in self.private, "tags": []})

    def send(self, handler, status, value, code=None):
        data = json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("Content-Type", "application/json")
        if code:
            handler.send_header("X-Error-Code", code)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)

    def send_file(self, handler, name, revision, file):
        data = self.repos[name].get(file)
        if data is None or revision not in ("main", self.sha(name)):
            return self.send(handler, 404, {"error": "Entry not found"}, "EntryNotFound")
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("X-Repo-Commit", self.sha(name))
        handler.send_header("ETag", f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"')
        handler.end_headers()
        if handler.command == "HEAD":
            return None
        for first in range(0, len(data), 4096):
            self.on_piece(self.sent)
            piece = data[first : first + 4096]
            self.sent += len(piece)
            handler.wfile.write(piece)
        return None


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror, and an empty cache in `tmp_path / "keras/models"`."""
    server = Server()
    monkeypatch.setattr(fetch, "PAUSES", (0, 0, 0))
    monkeypatch.setenv(fetch.MIRROR, server.url + "/")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def keras_resnet():
    """Builds a small residual network as keras.applications does."""
    from keras.src.applications import resnet

    def build(v2, input_shape, **fields):
        stack = resnet.stack_residual_blocks_v2 if v2 else resnet.stack_residual_blocks_v1

        def stages(x):
            return stack(stack(x, 4, 2, name="conv2"), 8, 2, name="conv3")

        fields = {"weights": None, "input_shape": input_shape, "include_top": True, **fields}
        return resnet.ResNet(stages, v2, True, name="small", **fields)

    return build


@pytest.fixture(scope="session")
def keras_2_file():
    """Writes a model's weights as Keras 2 did and keras.applications publishes them."""

    def write(model, path):
        names = {layer.name: layer.name for layer in model.layers} | {"predictions": "probs"}
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [names[layer.name].encode() for layer in model.layers]
            for layer in model.layers:
                name = names[layer.name]
                group = file.create_group(name)
                keys = [f"{name}/{weight.name}:0" for weight in layer.weights]
                group.attrs["weight_names"] = [key.encode() for key in keys]
                for key, weight in zip(keys, layer.weights, strict=True):
                    group[key] = keras.ops.convert_to_numpy(weight)
        return path.read_bytes()

    return write


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on this machine, which is the one that is spoken to, as somebody with a token."""
    pytest.importorskip("huggingface_hub")
    found = Hub()
    for name, value in {
        "HF_ENDPOINT": found.url,
        "HF_TOKEN": "hf_nobody",
        "HF_HOME": str(tmp_path / "hub"),
        "KERAS_HOME": str(tmp_path / "keras"),
    }.items():
        monkeypatch.setenv(name, value)
    yield found
    found.close()
