"""The page: it takes an image and shows its classes and where they are seen.

In the package it shows a Keras network. A Space has this file as its `app.py`, beside the exported
network and the modules of the package that read images; there it shows the exported network.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_preact.analysis.occlusion import occlusion
from keras_preact.analysis.overlay import overlay, scaled_map
from keras_preact.data.geometry import Geometry
from keras_preact.data.picture import BadImage, Picture
from keras_preact.errors import ConfigError

if TYPE_CHECKING:
    import gradio
    import numpy as np

#: Longer side, in pixels, of the image with the map.
_SHOWN = 480

#: The page loads nothing from other hosts, even if a later version of Gradio tries to.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:"
)

_CSS = "footer { display: none !important } .contain { padding-top: 0.5rem }"


@dataclasses.dataclass(frozen=True)
class Demo:
    """The contents of a page.

    Attributes:
        title: Title of the page.
        words: Text below the title, in Markdown.
        network: Function that maps images, uint8 `[n, h, w, c]`, to scores `[n, classes]` and class
            activation maps `[n, rows, columns, classes]`, or `None` if it has no maps.
        class_names: Class names in the order of the scores.
        geometry: How image files are resized and cropped to the network's input.
        channels: Channels of the network's images.
        mistakes: Files of misclassified images, each with a caption.
        confusion: File of a plot of the confusion matrix.
    """

    title: str
    words: str
    network: Callable[["np.ndarray"], tuple[Any, Any]]
    class_names: tuple[str, ...]
    geometry: Geometry
    channels: int
    mistakes: tuple[tuple[str, str], ...] = ()
    confusion: str | None = None


def look(
    demo: Demo, file: str | os.PathLike, label: int | None = None
) -> "tuple[np.ndarray, int, np.ndarray]":
    """Classifies an image file and shows where a class is seen, as the page does.

    Args:
        demo: A `Demo`.
        file: Path of the image file.
        label: Label of the class to look for; `None` for the most likely one.

    Returns:
        The scores, float32 `[classes]`; the label; and an image that shows where the class is seen,
        uint8 `[h, w, 3]`.

    Raises:
        BadImage: If the file cannot be read.

    Example:
        >>> import io
        >>> import numpy as np
        >>> from PIL import Image
        >>> from keras_preact.data import Geometry
        >>> from keras_preact.demo import Demo, look
        >>> bright = lambda x: (np.stack([x.mean((1, 2, 3)), 255 - x.mean((1, 2, 3))], 1), None)
        >>> demo = Demo("Light", "", bright, ("day", "night"), Geometry(8), 3)
        >>> Image.new("RGB", (8, 8), "white").save("white.png")
        >>> scores, label, picture = look(demo, "white.png")
        >>> scores.tolist(), label, picture.shape
        ([255.0, 0.0], 0, (480, 480, 3))
    """
    picture = Picture(file, demo.channels, pathlib.Path(file).name, demo.geometry.reading)
    image = demo.geometry.fit(picture)
    (scores,), maps = demo.network(image[None])
    label = int(scores.argmax()) if label is None else label
    seen = demo.geometry.seen(picture, _SHOWN)
    if maps is None:
        _, heat = occlusion(lambda images: demo.network(images)[0], image, label)
    else:
        heat = maps[0, ..., label]
    return scores, label, overlay(seen, scaled_map(heat, seen.shape[:2]))


def page(demo: Demo) -> "gradio.Blocks":
    """Builds the page of a `Demo`.

    Args:
        demo: A `Demo`.

    Returns:
        A `gradio.Blocks`; `serve` builds and serves it in one step.

    Raises:
        ConfigError: If Gradio is not installed.

    Example:
        >>> from keras_preact import load_trained
        >>> from keras_preact.demo import demo_of, page
        >>> blocks = page(demo_of(load_trained("mine.keras")))  # doctest: +SKIP
    """
    gr = _gradio()
    names = demo.class_names

    def answer(file, wanted):
        if not file:
            return None, None, ""
        chosen = names.index(wanted) if wanted in names else None
        try:
            scores, label, picture = look(demo, file["path"], chosen)
        except BadImage as error:
            raise gr.Error(str(error), duration=None) from None
        shares = {name: float(score) for name, score in zip(names, scores, strict=True)}
        words = f"Where **{names[label]}** is seen: red is evidence for it, blue against it."
        return shares, picture, words

    with gr.Blocks(title=demo.title, analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.Markdown(f"# {demo.title}\n\n{demo.words}")
        with gr.Row():
            with gr.Column(min_width=300):
                image = gr.Image(
                    label="Image", type="filepath", sources=["upload", "clipboard"],
                    height=360, elem_id="image", buttons=["fullscreen"],
                )  # fmt: skip
                wanted = gr.Dropdown(
                    [("most likely class", ""), *((name, name) for name in names)],
                    value="", label="Class to look for", elem_id="class",
                )  # fmt: skip
            with gr.Column(min_width=300):
                label = gr.Label(
                    label="Classes", num_top_classes=min(5, len(names)), elem_id="answer"
                )
                seen = gr.Image(
                    show_label=False, interactive=False, format="png", height=360,
                    elem_id="map", buttons=["fullscreen", "download"],
                )  # fmt: skip
                caption = gr.Markdown(elem_id="caption")
        gr.on(
            [image.change, wanted.change], answer, [image, wanted], [label, seen, caption],
            preprocess=False,  # Gradio would rotate the image and write it again
            api_name="look", show_progress="minimal",
        )  # fmt: skip
        if demo.mistakes:
            with gr.Accordion(f"{len(demo.mistakes)} mistakes, most confident first", open=False):
                gr.Markdown("True class → predicted class. Click an image to look at it above.")
                sheet = gr.Gallery(
                    [*demo.mistakes], columns=8, height="auto", allow_preview=False,
                    show_label=False, object_fit="contain", elem_id="mistakes", buttons=[],
                )  # fmt: skip

                def chosen(event: gr.SelectData):  # pyright: ignore[reportInvalidTypeForm]
                    return demo.mistakes[event.index][0]

                sheet.select(chosen, None, image, api_name=False)
        if demo.confusion:
            with gr.Accordion("Confusion matrix", open=False):
                gr.Image(
                    demo.confusion, show_label=False, interactive=False, elem_id="confusion",
                    buttons=["fullscreen", "download"],
                )  # fmt: skip
    return blocks


def serve(
    demo: Demo, host: str | None = None, port: int | None = None
) -> "tuple[gradio.Blocks, str]":
    """Serves the page of a `Demo` until the returned `gradio.Blocks` is closed.

    Args:
        demo: A `Demo`.
        host: Address to listen on; `None`: that of the environment variable `GRADIO_SERVER_NAME`,
            or 127.0.0.1, which only this machine can reach.
        port: Port to listen on; `None`: the first free one from 7860 on.

    Returns:
        The `gradio.Blocks` and its URL.

    Raises:
        ConfigError: If Gradio is not installed, or cannot listen on that address and port.

    Example:
        >>> from keras_preact import load_trained
        >>> from keras_preact.demo import demo_of, serve
        >>> blocks, url = serve(demo_of(load_trained("mine.keras")))  # doctest: +SKIP
    """
    blocks = page(demo)
    try:
        _, address, _ = blocks.launch(
            server_name=host, server_port=port, share=False, inbrowser=False, quiet=True,
            prevent_thread_lock=True, ssr_mode=False, pwa=False, max_file_size="100mb", css=_CSS,
            footer_links=[], app_kwargs={"middleware": _middleware()},
            _frontend=False,  # else it gives up if a busy machine takes 3 s for its own page
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(
            "`port` must be a free port. Received: "
            f"host={host!r}, port={port!r}: {' '.join(str(error).split())}"
        ) from None
    return blocks, address


def _middleware() -> list[Any]:
    from starlette.middleware import Middleware

    class SelfContained:
        """Makes the browser refuse content of other hosts."""

        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def sending(message):
                if message["type"] == "http.response.start":
                    policy = (b"content-security-policy", _POLICY.encode())
                    message["headers"] = [*message["headers"], policy]
                await send(message)

            await self.app(scope, receive, sending)

    return [Middleware(SelfContained)]


def _gradio():
    # Set before it is imported: otherwise it and its dependencies send usage reports.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        import gradio
    except ImportError as error:
        raise ConfigError(
            "The page needs Gradio: pip install 'keras-preact[demo]'. Received: "
            f"{error.name} is not installed."
        ) from None
    return gradio


def read_folder(folder: str | os.PathLike) -> Demo:
    """Reads the `Demo` of a folder that `write_space` wrote; its network runs in ONNX Runtime."""
    import onnxruntime

    folder = pathlib.Path(folder)
    about = json.loads((folder / "demo.json").read_bytes())
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    given = [output.name for output in session.get_outputs()]

    def network(images):
        found = dict(zip(given, session.run(given, {"images": images}), strict=True))
        return found["scores"], found.get("maps")

    return Demo(
        network=network,
        class_names=tuple(json.loads((folder / "classes.json").read_bytes())),
        geometry=Geometry.from_json((folder / "geometry.json").read_text()),
        **about,
    )


if __name__ == "__main__":
    import time

    _, where = serve(read_folder(pathlib.Path(__file__).parent))
    print(where, flush=True)
    while True:
        time.sleep(3600)
