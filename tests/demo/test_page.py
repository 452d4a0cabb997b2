"""The page in a real browser, and how it is served."""

import base64
import json
import shutil
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

from keras_preact import ResNetConfig, build_network, load_trained
from keras_preact.cli import main
from keras_preact.demo import demo_of, look
from keras_preact.evaluation import evaluate


@pytest.fixture(scope="module")
def served(trained_run, tmp_path_factory, drawing):
    """The page of a run with its mistakes: the demo, its address."""
    drawing.on = True
    pytest.importorskip("gradio")
    from keras_preact.demo import serve

    demo = demo_of(load_trained(trained_run), tmp_path_factory.mktemp("files"), 200)
    blocks, address = serve(demo, "127.0.0.1")
    yield demo, address
    blocks.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for one in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1200"):
        options.add_argument(one)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield found
    found.quit()


#: A file is dropped on the image, as a person drags it there.
DROP = """
const [name, data] = arguments;
const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
const carried = new DataTransfer();
carried.items.add(new File([bytes], name, {type: "image/png"}));
const target = document.querySelector("#image input[type=file]").closest("button");
for (const kind of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(
        new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: carried}));
"""


def until(browser, script, wanted=bool):
    """What a script gives once that is as it is wanted."""
    for _ in range(300):
        found = browser.execute_script(f"return {script}")
        if wanted(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{script}: {found!r}")


ANSWER = "document.querySelector('#answer [data-testid=label-output-value]')?.innerText.trim()"
MAP = "document.querySelector('#map img')?.src"


@pytest.mark.thorough
def test_an_image_is_dropped_and_answer_and_map_appear(served, browser, tmp_path):
    demo, address = served
    browser.get(address)
    until(browser, "document.querySelector('#image input[type=file]')")
    file = tmp_path / "digit.png"
    shutil.copy(demo.mistakes[0][0], file)
    scores, label, picture = look(demo, file)
    browser.execute_script(DROP, file.name, base64.b64encode(file.read_bytes()).decode())
    assert until(browser, ANSWER) == demo.class_names[label]
    first = until(browser, MAP)
    with urllib.request.urlopen(first) as answer:
        np.testing.assert_array_equal(Image.open(answer), picture)
    shares = browser.execute_script("return document.querySelector('#answer').innerText")
    assert f"{scores.max():.0%}" in shares.replace("\n", "")
    words = until(browser, "document.querySelector('#caption').innerText")
    assert f"Where {demo.class_names[label]} is seen" in words

    # A mistake that is clicked on is looked at.
    other = next(k for k, (path, _) in enumerate(demo.mistakes) if look(demo, path)[1] != label)
    browser.execute_script("document.querySelector('button.label-wrap').click()")
    until(browser, "document.querySelectorAll('#mistakes img').length", lambda n: n > other)
    browser.execute_script(
        "document.querySelectorAll('#mistakes img')[arguments[0]].closest('button').click()", other
    )
    expected = demo.class_names[look(demo, demo.mistakes[other][0])[1]]
    until(browser, ANSWER, lambda name: name == expected)

    # All that was loaded is of this machine.
    logged = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = [m["params"]["request"]["url"] for m in logged if "request" in m["params"]]
    assert len(asked) > 10
    assert {url.split("/")[2] for url in asked if "://" in url} == {address.split("/")[2]}


def test_the_browser_is_told_to_load_nothing_from_elsewhere(served):
    with urllib.request.urlopen(served[1]) as answer:
        policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert "default-src 'self'" in policy and "http" not in policy
    assert '"analytics_enabled":false' in page.replace(" ", "")


@pytest.mark.thorough
def test_mistakes_and_confusion_matrix_are_those_of_the_test_part(served, trained_run):
    demo, _ = served
    trained = load_trained(trained_run)
    data = trained.load_data()
    part = data.test.subset(np.unique(np.linspace(0, len(data.test) - 1, 200).astype(int)))
    found = evaluate(trained.model, part, trained.class_names)
    assert len(demo.mistakes) == min(len(found.mistakes), 40) > 0
    for k, (file, words) in zip(found.mistakes, demo.mistakes, strict=False):
        scores, label, _ = look(demo, file)
        np.testing.assert_allclose(scores, found.scores[k], atol=1e-5)
        true = trained.class_names[found.labels[k]]
        assert words == f"{true} → {trained.class_names[label]}"
    assert f"**{found.accuracy:.2%}**" in demo.words and Image.open(demo.confusion).width > 300


class Ends:
    """In place of `threading`: the page ends at once, as with Ctrl-C."""

    def Event(self):
        return self

    def wait(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "host", "risk"),
    [([], "127.0.0.1", False), (["--host", "0.0.0.0"], "0.0.0.0", True)],
)
def test_others_are_let_in_where_that_is_asked_for(
    options, host, risk, tmp_path, monkeypatch, capsys
):
    asked = []
    monkeypatch.setattr("keras_preact.cli.explaining.threading", Ends())

    class Blocks:
        def close(self, verbose):
            asked.append("closed")

    def serve(demo, *where):
        asked.append((demo.title, *where))
        return Blocks(), "http://here/"

    monkeypatch.setattr("keras_preact.demo.app.serve", serve)
    model = build_network(ResNetConfig(units=(1,), filters=(4,), stem_filters=4),
                          input_shape=(8, 8, 1), classes=3)  # fmt: skip
    model.save(tmp_path / "net.keras")
    assert main(["demo", str(tmp_path / "net.keras"), *options]) == 130
    assert asked == [("net", host, None), "closed"]
    said = capsys.readouterr().out
    assert "http://here/ (stop with Ctrl-C)" in said
    assert ("there is no password" in " ".join(said.split())) is risk


def test_a_port_that_is_taken_is_said(served):
    from keras_preact.demo import serve
    from keras_preact.errors import ConfigError

    demo, address = served
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConfigError, match="`port` must be a free port"):
        serve(demo, "127.0.0.1", port)
