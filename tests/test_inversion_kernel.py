"""The fused inversion kernel and the statistics of cells, against plain NumPy."""

import numpy as np
import pytest

from steps.kernels.inversion import COEFFICIENTS, POWERS, invert, upsample_row
from steps.kernels.mesh import cell_moments, cell_quantile, interpolate

SHAPE, CELL = (75, 131), 20


@pytest.fixture
def pixels():
    """Plausible numbers of one block: 75 x 131 pixels do not fill whole cells."""
    random = np.random.default_rng(1)
    toa = random.integers(1200, 7000, SHAPE).astype("u2")
    toa[5:9, 30:60] = 0
    elevation = random.integers(-50, 2500, SHAPE).astype("i2")
    water_vapour = random.integers(500, 4000, SHAPE).astype("u2")
    water_vapour[40] = 0
    nodes = np.zeros((-(-SHAPE[0] // CELL) + 1, -(-SHAPE[1] // CELL) + 1, COEFFICIENTS), "f4")
    typical = [1900, -0.09, 1e-5, -1e-10, 6250, 0.3, -1e-5, 0, 0.2, -4e-5, 1e-9, 0, 0.16, -2e-5, 0, 0]
    typical += [2, -8e-4, 1e-7, 0, -0.03, 0.002]
    nodes[:] = np.array(typical) * random.uniform(0.9, 1.1, nodes.shape)
    environment = random.uniform(0.02, 0.4, (25, 44)).astype("f4")
    return toa, elevation, water_vapour, environment, nodes


def inverted(toa, elevation, water_vapour, environment, nodes, ratio=3, blocks=((0, 75),)):
    boa, counts = np.empty_like(toa), np.empty((toa.shape[0], 3), "i8")
    for first, last in blocks:
        rows = slice(first, last)
        column = None if water_vapour is None else water_vapour[rows]
        invert(toa[rows], elevation[rows], column, environment, ratio, nodes, CELL, first, boa[rows], counts[rows])
    return boa, counts


def expected(toa, elevation, water_vapour, environment, nodes, ratio=3):
    rows, columns = (np.arange(n) + 0.5 for n in toa.shape)
    field = interpolate(np.moveaxis(nodes.astype("f8"), -1, 0), rows / CELL, columns / CELL)

    def polynomial(k):
        return sum(field[POWERS * k + n] * elevation.astype("f8") ** n for n in range(POWERS))

    # In the terms of Vermote et al.: direct upward transmittance, without the kernel's short cuts.
    signal = (toa - polynomial(0)) / polynomial(1) * (1 + polynomial(2))
    if water_vapour is not None:
        excess = np.where(water_vapour == 0, 0, water_vapour / 1000 - polynomial(4))
        signal /= 1 + excess * field[-2] + excess**2 * field[-1]
    if environment is None:
        reflectance = signal / (1 + polynomial(2) + polynomial(3) * signal)
    else:
        around = interpolate(environment.astype("f8"), rows / ratio - 0.5, columns / ratio - 0.5)
        reflectance = signal - around * (polynomial(2) + polynomial(3) * signal)
    return np.where(toa == 0, 0, np.clip(np.floor(reflectance * 10000 + 1000.5), 1, 32767))


@pytest.mark.parametrize("with_vapour", [False, True])
@pytest.mark.parametrize("with_environment", [False, True])
def test_inversion_is_the_formula(pixels, with_vapour, with_environment):
    toa, elevation, water_vapour, environment, nodes = pixels
    inputs = (
        toa,
        elevation,
        water_vapour if with_vapour else None,
        environment if with_environment else None,
        nodes,
    )
    boa, counts = inverted(*inputs)
    assert np.abs(boa.astype(int) - expected(*inputs)).max() <= 1  # single precision may round the other way
    assert (boa[5:9, 30:60] == 0).all()
    valid = boa > 0
    assert (counts == np.stack([valid.sum(1), (valid & (boa < 1000)).sum(1), boa.sum(1, "i8")], 1)).all()


def test_inversion_does_not_depend_on_blocks(pixels):
    toa, elevation, water_vapour, environment, nodes = pixels
    whole = inverted(toa, elevation, water_vapour, environment, nodes)[0]
    parts = inverted(toa, elevation, water_vapour, environment, nodes, blocks=((0, 7), (7, 41), (41, 75)))[0]
    assert (whole == parts).all()


def test_inversion_keeps_numbers_in_range(pixels):
    toa, elevation, _, _, nodes = pixels
    toa = np.where(elevation > 1000, 65535, 1).astype("u2")
    boa = inverted(toa, elevation, None, None, nodes * np.float32(1.0))[0]
    assert boa.min() >= 1
    assert boa.max() <= 32767


@pytest.mark.parametrize("ratio", [1, 3, 6])
def test_rows_are_upsampled_linearly(ratio):
    coarse = np.random.default_rng(0).uniform(size=9).astype("f4")
    fine = np.empty(9 * ratio - ratio // 2, "f4")
    upsample_row(coarse, ratio, fine)
    x = (np.arange(fine.size) + 0.5) / ratio - 0.5
    np.testing.assert_allclose(fine, np.interp(x, np.arange(9), coarse), atol=1e-6)


def test_statistics_of_cells():
    random = np.random.default_rng(2)
    values = random.integers(-300, 3000, (50, 33)).astype("i2")
    values[:16, :16] = -32768
    moments = cell_moments(values, 16, -32768)
    part = values[16:32, 32:].astype("f8")
    np.testing.assert_allclose(
        moments[:, 1, 2], [part.size, part.min(), part.max(), part.mean(), part.var()], rtol=1e-12
    )
    assert (moments[:, 0, 0] == 0).all()
    chosen = random.uniform(size=values.shape) < 0.5
    quantile, count = cell_quantile(values.astype("u2"), chosen, 16, 0.5, 5)
    inside = np.sort(values[16:32, 16:32].astype("u2")[chosen[16:32, 16:32]])
    assert count[1, 1] == inside.size
    assert quantile[1, 1] == inside[inside.size // 2]
    assert np.isnan(cell_quantile(values.astype("u2"), chosen, 16, 0.5, 10**6)[0]).all()
