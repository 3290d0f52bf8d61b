"""The fused inversion kernel and the statistics of cells, against plain NumPy."""

import numpy as np
import pytest

from steps.atmosphere.inversion_kernel import (
    COEFFICIENTS,
    POWERS,
    Block,
    Environment,
    Nodes,
    column_excess,
    density_factor,
    invert,
    upsample_row,
)
from steps.core.cells import cell_moments
from steps.core.mesh import interpolate

SHAPE, CELL = (75, 131), 32  # four rows share coefficients


@pytest.fixture
def pixels():
    """Plausible numbers of one block: 75 x 131 pixels fill neither whole cells nor groups of rows."""
    random = np.random.default_rng(1)
    toa = random.integers(1200, 7000, SHAPE).astype("u2")
    toa[5:9, 30:60] = 0
    air = density_factor(random.integers(-50, 2500, SHAPE).astype("i2"))
    excess = random.integers(-9000, 9000, SHAPE).astype("i2")
    nodes = np.zeros((-(-SHAPE[0] // CELL) + 1, -(-SHAPE[1] // CELL) + 1, COEFFICIENTS), "f4")
    typical = [1000, 0.01, 1e-7, 1e-12, 1e-17, 0.8, -1e-6, -1e-11, -1e-16, -1e-21]
    typical += [1.1, 1e-6, 2e-11, 1e-16, 1e-21, 1e-5, 1e-10, 1e-15]
    typical += [3e-5, 1e-10, 1e-15, -3e-3, -1e-7, -1e-12, 5e-10, 1e-7]
    nodes[:] = np.array(typical) * random.uniform(0.9, 1.1, nodes.shape)
    environment = random.uniform(0.02, 0.4, (25, 44)).astype("f4")
    return toa, air, excess, environment, nodes


def inverted(toa, air, excess, environment, nodes, ratio=3, blocks=((0, 75),), dtype="u2"):
    boa, counts = np.empty(toa.shape, dtype), np.empty((toa.shape[0], 3), "i8")
    around = None if environment is None else Environment(environment, ratio)
    for first, last in blocks:
        rows = slice(first, last)
        block = [None if v is None else v[rows] for v in (toa, air, excess)]
        invert(Block(*block), around, Nodes(nodes, CELL), first, boa[rows], counts[rows])
    return boa, counts


def middles():
    """Vertical position of the line whose coefficients a row has."""
    return np.arange(SHAPE[0]) // 4 * 4 + 2


def expected(toa, air, excess, environment, nodes, ratio=3):
    rows, columns = (np.arange(n) + 0.5 for n in toa.shape)
    field = interpolate(np.moveaxis(nodes.astype("f8"), -1, 0), middles() / CELL, columns / CELL)
    # Of the change with water vapour, that in the middle of a cell.
    middle = np.arange(toa.shape[1]) // CELL + 0.5
    ends = np.cumsum((0, *POWERS))
    field[ends[4] :] = interpolate(np.moveaxis(nodes.astype("f8"), -1, 0)[ends[4] :], middles() / CELL, middle)

    def polynomial(k):
        powers = field[ends[k] : ends[k + 1]]
        return powers[0] if air is None else sum(c * air.astype("f8") ** n for n, c in enumerate(powers))

    path, total, root, albedo, change, path_change = map(polynomial, range(6))
    signal, direct = (toa - path) / 1e4, 1 / root**2
    albedo = albedo * 1e4
    if excess is not None:
        square = excess.astype("f8") ** 2
        signal += toa / 1e4 * (excess * change + square * field[-2]) - (excess * path_change + square * field[-1]) / 1e4
    if environment is None:
        reflectance = signal / (total + albedo * signal)
    else:
        around = interpolate(environment.astype("f8"), rows / ratio - 0.5, columns / ratio - 0.5)
        # In the terms of Vermote et al.: direct and diffuse transmittance, without the kernel's short cuts.
        reflectance = (signal * (1 - albedo * around) - (total - direct) * around) / direct
    return np.where(toa == 0, 0, np.clip(reflectance * 10000 + 1000, 1, 32767))


@pytest.mark.parametrize("with_relief", [False, True])
@pytest.mark.parametrize("with_vapour", [False, True])
@pytest.mark.parametrize("with_environment", [False, True])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_inversion_is_the_formula(pixels, with_relief, with_vapour, with_environment, dtype):
    toa, air, excess, environment, nodes = pixels
    inputs = (
        toa,
        air if with_relief else None,
        excess if with_vapour else None,
        environment if with_environment else None,
        nodes,
    )
    boa, counts = inverted(*inputs, dtype=dtype)
    error = 0.01 + (0.5 if dtype == "u2" else 0)  # of single precision, and of rounding
    assert np.abs(boa - expected(*inputs)).max() < error
    assert (boa[5:9, 30:60] == 0).all()
    valid, total = boa > 0, np.floor(boa + 0.5 * (dtype == "f4")).sum(1, "i8")
    assert (counts == np.stack([valid.sum(1), (valid & (boa < 1000)).sum(1), total], 1)).all()


def test_inversion_does_not_depend_on_blocks(pixels):
    whole = inverted(*pixels)[0]
    parts = inverted(*pixels, blocks=((0, 8), (8, 40), (40, 75)))[0]
    assert (whole == parts).all()


@pytest.mark.parametrize("with_relief", [False, True])
def test_excess_of_water_vapour(with_relief):
    random = np.random.default_rng(3)
    elevation = random.integers(-50, 2500, SHAPE).astype("i2")
    column = random.uniform(1, 3, (5, 8, 1)).astype("f4")
    stored = random.integers(500, 3000, SHAPE).astype("u2")
    stored[40] = 0
    known = interpolate(column[..., 0].astype("f8"), middles() / CELL, (np.arange(SHAPE[1]) + 0.5) / CELL)
    if with_relief:
        known *= np.exp(-elevation / 4000)
    excess = np.empty(SHAPE, "i2")
    for first, last in ((0, 8), (8, 75)):
        part = slice(first, last)
        air = density_factor(elevation[part]) if with_relief else None
        column_excess(stored[part], air, column, CELL, first, excess[part])
    assert (excess[40] == 0).all()
    assert np.abs(excess * 1e-4 - np.where(stored == 0, 0, np.sqrt(stored * 1e-3) - known)).max() < 2e-4


def test_thinness_of_the_air():
    elevation = np.array([[-400, 0, 1, 4000, 8800]], "i2")
    np.testing.assert_allclose(density_factor(elevation) / 50000, np.exp(-elevation / 4000), atol=1e-5)


def test_inversion_keeps_numbers_in_range(pixels):
    toa, air, _, _, nodes = pixels
    toa = np.where(air > 40000, 65535, 1).astype("u2")
    boa = inverted(toa, air, None, None, nodes)[0]
    assert boa.min() >= 1
    assert boa.max() <= 32767


def test_inversion_of_far_too_dark_pixels_is_dark(pixels):
    """Thick bright air, a pixel darker than its path: the lowest number, not the one beyond the pole."""
    toa, _, _, _, nodes = pixels
    nodes[..., 0], nodes[..., POWERS[0]], nodes[..., sum(POWERS[:3])] = 5000, 0.05, 0.35e-4
    assert (inverted(np.where(toa > 0, 3000, 0).astype("u2"), None, None, None, nodes)[0] == (toa > 0)).all()


@pytest.mark.parametrize("ratio", [1, 3, 6])
def test_rows_are_upsampled_linearly(ratio):
    coarse = np.random.default_rng(0).uniform(size=9).astype("f4")
    fine = np.empty(9 * ratio - ratio // 2, "f4")
    upsample_row(coarse, ratio, fine)
    x = (np.arange(fine.size) + 0.5) / ratio - 0.5
    np.testing.assert_allclose(fine, np.interp(x, np.arange(9), coarse), atol=1e-6)


def test_other_ratios_are_refused():
    with pytest.raises(ValueError, match="1, 3 or 6"):
        upsample_row(np.ones(5, "f4"), 2, np.empty(10, "f4"))


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
