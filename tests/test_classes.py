import numpy as np

from steps.classification.classes import any_of_nine, is_one_of

CLASSES = np.random.default_rng(7).integers(0, 12, (30, 45)).astype("u1")


def test_is_one_of_is_numpys_isin():
    for wanted in ((), (4,), (0, 8, 9, 10)):
        np.testing.assert_array_equal(is_one_of(CLASSES, wanted), np.isin(CLASSES, wanted))


def test_any_of_nine():
    mask = CLASSES == 3
    np.testing.assert_array_equal(any_of_nine(mask), mask.reshape(10, 3, 15, 3).any(axis=(1, 3)))
