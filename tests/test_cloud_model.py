"""The s2cloudless model beside the rules: what it confirms, what it adds, and that it is not needed."""

import importlib.util

import numpy as np
import pytest
from scipy import ndimage
from test_scene_classification import SPECTRA, make_scene

import steps.classification.cloud_model as cloud_model
from steps.classification.cloud_model import CLEAR, CLOUD, MODEL_BANDS, NEAR_CLOUD, cloud_prediction
from steps.classification.improved import clouds_of_model
from steps.core.errors import StepError
from steps.scene_classification import classify_scene, run
from steps.sentinel2.bands import STACK_BANDS

needs_model = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("s2cloudless", "lightgbm")),
    reason="s2cloudless is not installed: pip install -c envs/constraints.txt -e '.[s2cloudless]'",
)


class Brightness:
    """Stands in for the model: B02 is the probability of a cloud."""

    def predict(self, features, num_threads):
        return features[:, MODEL_BANDS.index("B02")]


def bands_of(b02):
    return dict.fromkeys(MODEL_BANDS, b02.astype("f4"))


def test_opinion_is_average_threshold_and_growth(monkeypatch):
    """Against the post-processing of s2cloudless, written out pixel by pixel."""
    monkeypatch.setattr(cloud_model, "_load", Brightness)
    coarse = ndimage.gaussian_filter(np.random.default_rng(0).random((40, 50)), 3)
    coarse = np.interp(coarse, [coarse.min(), coarse.max()], [0.01, 1]).astype("f4")
    fine = np.kron(coarse, np.ones((3, 3), "f4"))
    got = cloud_prediction(lambda rows: bands_of(fine[rows]), fine.shape, 20, 1)[1::3, 1::3]
    padded = np.pad(coarse, 1, mode="symmetric")
    cross = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]
    mean = np.mean([padded[1 + y : 41 + y, 1 + x : 51 + x] for y, x in cross], axis=0)
    cloud = mean > 0.4
    np.testing.assert_array_equal(got == CLOUD, cloud)
    y, x = np.nonzero(cloud)
    rows, columns = np.indices(cloud.shape)
    distance = ((rows[..., None] - y) ** 2 + (columns[..., None] - x) ** 2).min(-1)
    np.testing.assert_array_equal(got == NEAR_CLOUD, ~cloud & (distance <= 1))


@pytest.mark.parametrize("resolution", [20, 60])
def test_opinion_of_any_scene(monkeypatch, resolution):
    """Sizes that are no multiple of the model's pixel, nothing but no data, and next to nothing."""
    monkeypatch.setattr(cloud_model, "_load", Brightness)
    for shape in ((3, 3), (1, 40), (67, 91)):
        for value, expected in ((0, {CLEAR, NEAR_CLOUD}), (0.9, {CLOUD, NEAR_CLOUD})):
            b02 = np.full(shape, value)
            got = cloud_prediction(lambda rows, b02=b02: bands_of(b02[rows]), shape, resolution, 1)
            assert got.shape == shape
            assert set(np.unique(got)) <= expected


def test_clouds_of_model():
    scl = np.array([[9, 8, 9, 8, 5, 6, 11, 10, 0, 5]], "u1")
    prediction = np.array([[0, 0, 1, 2, 2, 2, 2, 2, 2, 1]], "u1")
    clouds_of_model(scl, prediction)
    np.testing.assert_array_equal(scl, [[7, 7, 9, 8, 8, 8, 11, 10, 0, 5]])


@needs_model
def test_model_knows_clouds():
    for kind, expected in (("cloud", CLOUD), ("water", CLEAR), ("soil", CLEAR), ("vegetation", CLEAR), ("town", CLEAR)):
        toa = {b: np.full((80, 80), v, "f4") for b, v in zip(STACK_BANDS, SPECTRA[kind], strict=True)}
        toa["B08"] = toa["B8A"]
        prediction = cloud_prediction(lambda rows, toa=toa: {b: toa[b][rows] for b in MODEL_BANDS}, (80, 80), 20, 2)
        assert (prediction == expected).all(), kind


@needs_model
def test_classes_and_probabilities_agree_and_do_not_depend_on_threads():
    toa, maps = make_scene(4, (331, 183))
    toa["B08"] = toa["B8A"] * np.float32(1.02)
    options = {"mode": "improved", "cloud_model": "s2cloudless", **maps}
    scl, cloud, snow = classify_scene(toa, 20, 40, 150, **options)
    rules, _, _ = classify_scene(toa, 20, 40, 150, mode="improved", **maps)
    assert (scl != rules).mean() > 0.01
    for got, expected in zip(classify_scene(toa, 20, 40, 150, threads=4, **options), (scl, cloud, snow), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.isin(scl, (8, 9, 10)), cloud >= 20)
    np.testing.assert_array_equal(scl == 11, snow > 12)


def test_refuses(monkeypatch, tmp_path):
    paths = [tmp_path / name for name in "abcdef"]
    with pytest.raises(StepError, match="needs `classification.mode: improved`"):
        run(*paths, mode="classic", cloud_model="s2cloudless")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StepError, match="is not installed"):
        cloud_prediction(None, (80, 80), 20, 1)
