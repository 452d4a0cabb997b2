"""He's and Xavier's initialisers against their formulas and against Keras's own."""

import math

import keras
import numpy as np
import pytest

from keras_preact.initializers import he_normal, xavier_normal

SHAPE = (3, 3, 48, 96)
FANS = {"fan_in": 9 * 48, "fan_out": 9 * 96, "fan_avg": 9 * 72}


@pytest.mark.parametrize("mode", FANS)
@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_he_variance_is_equations_10_14_and_15(mode, truncated, slope):
    values = keras.ops.convert_to_numpy(he_normal(mode, truncated, slope, seed=1)(SHAPE))
    std = math.sqrt(2 / ((1 + slope**2) * FANS[mode]))
    assert values.std() == pytest.approx(std, rel=0.02)
    assert values.mean() == pytest.approx(0, abs=std / 50)
    reach = np.abs(values).max() / std
    assert reach < 2.3 if truncated else reach > 3.5


@pytest.mark.parametrize("mode", FANS)
def test_xavier_variance_is_one_over_the_fan(mode):
    values = keras.ops.convert_to_numpy(xavier_normal(mode, seed=1)(SHAPE))
    assert values.std() == pytest.approx(math.sqrt(1 / FANS[mode]), rel=0.02)


@pytest.mark.parametrize("filters", [64, 128, 256, 512])
def test_the_papers_printed_deviations(filters):
    # Delving Deep into Rectifiers, section 2.2: VGG's model B with equation 14.
    printed = {64: 0.059, 128: 0.042, 256: 0.029, 512: 0.021}
    values = keras.ops.convert_to_numpy(he_normal(seed=0)((3, 3, 64, filters)))
    assert values.std() == pytest.approx(printed[filters], rel=0.03)


def test_keras_forms_are_special_cases():
    mine, keras_own = he_normal("fan_in", True, seed=3), keras.initializers.HeNormal(seed=3)
    np.testing.assert_array_equal(mine(SHAPE), keras_own(SHAPE))
    mine, keras_own = (
        xavier_normal("fan_avg", True, seed=3),
        keras.initializers.GlorotNormal(seed=3),
    )
    np.testing.assert_array_equal(mine(SHAPE), keras_own(SHAPE))


@pytest.mark.parametrize("initializer", [he_normal("fan_avg", True, 0.1, 5), xavier_normal(seed=5)])
def test_round_trip(initializer):
    config = keras.saving.serialize_keras_object(initializer)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == initializer.get_config()
    np.testing.assert_array_equal(again(SHAPE), initializer(SHAPE))
