"""What tests of weights share."""

import contextlib
import http.server
import threading
import time

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
            handler.wfile.write(piece)
            rest, self.sent = rest[len(piece) :], self.sent + len(piece)
            time.sleep(fault.get("pause", 0))
        if "cut" in fault:
            handler.wfile.flush()
            self.silent.wait()

    def close(self):
        self.silent.set()
        self.http.shutdown()
        self.http.server_close()


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
