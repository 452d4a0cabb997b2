"""Maps of what speaks for a class: against formulas, differences and squares covered one by one."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact import ResNetConfig, build_network, create_model, portable
from keras_preact.analysis import explain, explainer, plot_explanation
from keras_preact.analysis.explanation import UNITS
from keras_preact.analysis.occlusion import occlusion
from keras_preact.analysis.overlay import AGAINST, FOR, overlay, scaled_map
from keras_preact.cli import main
from keras_preact.errors import ConfigError
from keras_preact.rewrite import split_at_maps, without_softmax

CONFIG = ResNetConfig(units=(3, 1), filters=(4, 6), stem_filters=4)


def small(shape=(12, 16, 3), classes=3, **arguments):
    return build_network(CONFIG, input_shape=shape, classes=classes, **arguments)


def rectifier_net():
    arguments = {"input_shape": (32, 32, 3), "dense": (8,), "classes": 3}
    return create_model("rectifiernet14", **arguments, filters=(4, 4), stem_filters=4)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, "uint8")


@pytest.mark.parametrize("packaging", ["flat", "nested", "repeated"])
@pytest.mark.sample(3)
@pytest.mark.thorough
def test_gradients_of_the_last_maps_are_the_activation_maps_above_zero(packaging, randomize):
    model, images = randomize(small(packaging=packaging)), noise(5, 12, 16, 3)
    cam, gradients = (explain(model, images, kind, batch_size=2) for kind in ("cam", "grad_cam"))
    places = cam.grids[0].size
    assert cam.grids.min() < 0 < cam.grids.max()
    close = {"atol": 1e-5 * np.abs(cam.grids).max()}
    np.testing.assert_allclose(gradients.grids * places, np.maximum(cam.grids, 0), **close)
    for found in (cam, gradients):
        scores = model.predict_on_batch(images.astype("float32"))
        assert found.classes.tolist() == scores.argmax(axis=1).tolist()
        np.testing.assert_allclose(found.scores, scores.max(axis=1), atol=1e-5)
        assert found.maps.shape == (5, 12, 16) and found.maps.dtype == np.float32
        np.testing.assert_allclose(found.maps.mean((1, 2)), found.grids.mean((1, 2)), **close)


@pytest.mark.parametrize(
    ("build", "layer"), [(rectifier_net, None), (lambda: portable(rectifier_net()), None),
                         (rectifier_net, "stage1"), (small, "stage1")],
)  # fmt: skip
@pytest.mark.sample(4)
def test_gradients_are_differences(build, layer, randomize):
    """A channel's weight is what the logit changes by when all its places do, over their number."""
    model = randomize(build())
    front, back = split_at_maps(model, layer)
    images = noise(1, *model.input_shape[1:])
    maps = np.asarray(front.predict_on_batch(images.astype("float32")), np.float64)
    back, step = without_softmax(back), 1e-3 * np.abs(maps).max()
    moves = step * np.eye(maps.shape[-1])[:, None, None, :]
    up, down = (
        back.predict_on_batch((maps + sign * moves).astype("float32"))[:, 1] for sign in (1, -1)
    )
    weights = (up - down) / (2 * step * maps[0, ..., 0].size)
    expected = np.maximum((weights * maps[0]).sum(axis=-1), 0)
    found = explain(model, images, "grad_cam", classes=1, layer=layer).grids[0]
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(weights * maps[0]).max())


@pytest.mark.parametrize("square", [None, 1, 3, 5, 99])
def test_a_square_that_is_covered_takes_its_part(square):
    """Of a score that is a sum over pixels, exactly; each pixel has the mean of its squares."""
    random = np.random.default_rng(0)
    image, weights = noise(7, 9, 3).astype("float64"), random.normal(size=(7, 9, 3))
    side = min(square or 1, 7)
    grid, heat = occlusion(lambda x: (x * weights).sum((1, 2, 3))[:, None], image, 0, square)
    parts = (image - image.mean((0, 1))) * weights
    starts = [sorted({*range(0, n - side, max(side // 2, 1)), n - side}) for n in (7, 9)]
    total, count = np.zeros((7, 9)), np.zeros((7, 9))
    for row, y in zip(grid, starts[0], strict=True):
        for fall, x in zip(row, starts[1], strict=True):
            here = slice(y, y + side), slice(x, x + side)
            assert fall == pytest.approx(parts[here].sum(), abs=1e-4)
            total[here] += parts[here].sum()
            count[here] += 1
    assert count.min() >= 1
    np.testing.assert_allclose(heat, total / count, atol=1e-4)


@pytest.mark.thorough
def test_squares_are_covered_in_networks_of_any_layout(randomize):
    model, images = randomize(rectifier_net()), noise(2, 32, 32, 3)
    found = explain(model, images, "occlusion", classes=[2, 0], square=16, batch_size=4)
    covered = images[1].copy()
    covered[:16, 16:] = images[1].mean((0, 1)).astype("uint8")
    before, after = model.predict_on_batch(np.stack([images[1], covered]).astype("float32"))[:, 0]
    assert found.grids.shape == (2, 3, 3) and found.scores[1] == pytest.approx(before, abs=1e-5)
    assert found.grids[1, 0, 2] == pytest.approx(before - after, abs=1e-5)


def test_channels_first():
    images = keras.Input((1, 6, 8))
    x = keras.layers.PReLU(shared_axes=[2, 3])(images)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = keras.Model(images, keras.layers.Dense(2, kernel_initializer="ones")(x))
    batch = noise(2, 1, 6, 8)
    for kind, factor in {"cam": 1.0, "grad_cam": 1 / 48, "occlusion": None}.items():
        found = explain(model, batch, kind, classes=0)
        assert found.maps.shape == (2, 6, 8)
        if factor:
            np.testing.assert_allclose(found.maps, batch[:, 0] * factor, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (8, 12), (13, 7), (3, 40)])
def test_maps_are_scaled_as_keras_does(shape):
    grid = np.random.default_rng(0).normal(size=(2, 4, 4)).astype("float32")
    larger = shape[0] >= 4 and shape[1] >= 4
    expected = keras.ops.image.resize(grid[..., None], shape, "bilinear", antialias=False)
    found = scaled_map(grid, shape)
    assert found.shape == (2, *shape)
    if larger:
        np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected)[..., 0], atol=1e-5)
    if shape == (8, 12):
        np.testing.assert_allclose(found.mean((1, 2)), grid.mean((1, 2)), atol=1e-6)


def test_colours_say_for_and_against():
    image = np.full((1, 3, 3), (0, 150, 0), "uint8")
    found = overlay(image, np.array([[2.0, -2.0, 0.0]]))[0].astype(int)
    assert found.tolist()[2] == [50, 50, 50]
    for colour, pixel in zip((FOR, AGAINST), found, strict=False):
        np.testing.assert_allclose(pixel, 0.8 * np.array(colour) + 10, atol=0.5)
    assert overlay(image, np.zeros((1, 3))).tolist() == [[[50, 50, 50]] * 3]
    figure = plot_explanation(image, np.zeros((1, 3)), "a $ in a name", UNITS["cam"])
    assert len(figure.axes) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "gradcam"}, "one of 'cam', 'grad_cam', 'occlusion'"),
        ({"layer": "stage1"}, "`layer` must be None unless kind='grad_cam'"),
        ({"kind": "grad_cam", "layer": "stage7"}, "returns maps, such as"),
        ({"square": 3}, "`square` must be None, or at least 1"),
        ({"kind": "occlusion", "square": 0}, "`square` must be None, or at least 1"),
        ({"classes": 3}, "numbers from 0 to 2"),
        ({"classes": [0, 1]}, "one for all or one per image"),
        ({"classes": 0.5}, "numbers from 0 to 2"),
        ({"classes": -1}, "numbers from 0 to 2"),
        ({"images": noise(12, 16, 3)}, "images \\(n, height, width, channels\\)"),
        ({"images": noise(0, 12, 16, 3)}, "at least one"),
        ({"model": keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])}, "maps of one"),
    ],
    ids=str,
)
def test_mistakes_are_said(arguments, words):
    asked = {"model": small(), "images": noise(3, 12, 16, 3), **arguments}
    with pytest.raises(ConfigError, match=words):
        explain(**asked)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    keras.utils.set_random_seed(0)
    small((12, 12, 3)).save(folder / "net.keras")
    (folder / "net.classes.json").write_text('["ant", "bee", "cow"]')
    rectifier_net().save(folder / "rectifier.keras")
    for name in ("a/photo.png", "b/photo.png"):
        (folder / name).parent.mkdir()
        Image.fromarray(noise(30, 20, 3, seed=len(name))).save(folder / name)
    (folder / "bad.png").write_text("no image")
    return folder


@pytest.mark.drawn
@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.sample(3)
@pytest.mark.thorough
def test_a_picture_an_image(kind, files, tmp_path, capsys):
    images = [str(files / name) for name in ("a", "bad.png", "b/photo.png")]
    asked = ["explain", str(files / "net.keras"), *images, "--kind", kind, "--class", "cow"]
    assert main([*asked, "--json", "--out", str(tmp_path / "out")]) == 3
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert "bad.png" in said.err and "1 of 3 files cannot be read" in said.err
    assert [line["class"] for line in lines] == ["cow", "cow"]
    pictures = [tmp_path / "out" / f"photo-{kind}{end}.png" for end in ("", "-2")]
    assert [line["picture"] for line in lines] == [*map(str, pictures)]
    assert all(Image.open(picture).width > 900 for picture in pictures)
    from keras_preact import load_trained
    from keras_preact.data.picture import Picture

    trained = load_trained(files / "net.keras")
    image = trained.geometry.fit(Picture(files / "a/photo.png", 3))
    found = explainer(trained.model, kind)(image[None], 2)
    np.testing.assert_allclose(lines[0]["grid"], found.grids[0], atol=1e-6)
    assert lines[0]["score"] == pytest.approx(float(found.scores[0]), abs=1e-6)


def test_mistakes_of_the_command(files, tmp_path, capsys):
    asked = [str(files / "a/photo.png"), "--out", str(tmp_path)]
    for network, options, words in (
        ("rectifier", [], "`model` must end with global average pooling"),
        ("net", ["--class", "bees"], "Did you mean 'bee'?"),
        ("net", ["--kind", "heat"], "`kind` must be one of 'cam'"),
    ):
        assert main(["explain", str(files / f"{network}.keras"), *asked, *options]) == 2
        err = capsys.readouterr().err
        assert words in err and len(err.splitlines()) == 1
    assert not [*tmp_path.iterdir()]
