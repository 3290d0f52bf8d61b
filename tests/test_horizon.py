"""Horizons, sky view and cast shadows against closed forms and plain NumPy."""

import numpy as np
import pytest

from steps.core.rasters import Grid
from steps.dem import _lie, _shadow, _sky_view
from steps.terrain.horizon import DIRECTIONS, cell_heights, horizon_tangents
from steps.terrain.illumination import at_pixels, gradient, slope_aspect_incidence

PIXEL = 20.0


class Sun:
    """The same direction everywhere."""

    def __init__(self, zenith, azimuth, width):
        tangent, azimuth = np.tan(np.radians(zenith)), np.radians(azimuth)
        self.components, self.width = (tangent * np.sin(azimuth), tangent * np.cos(azimuth)), width

    def at(self, rows):
        shape = (rows.stop - rows.start, self.width)
        return tuple(np.full(shape, c, np.float32) for c in self.components)


def views(elevation, margin, zenith=45.0, azimuth=180.0, threads=1):
    rows, columns = (n - 2 * margin for n in elevation.shape)
    grid = Grid(32633, 0, 0, PIXEL, columns, rows)
    elevation, sun = elevation.astype(np.float32), Sun(zenith, azimuth, columns)
    sky_view = _sky_view(elevation, margin, elevation, (margin, margin), grid, threads)
    return tuple(_lie(sky_view, _shadow(elevation, margin, grid, sun, threads))(slice(0, rows)).values())


def plane(slope, aspect, size):
    """A plane whose outward normal points to `aspect`; x grows east with columns, y south with rows."""
    y, x = np.mgrid[:size, :size] * PIXEL
    slope, aspect = np.radians(slope), np.radians(aspect)
    return 3000 - np.tan(slope) * (x * np.sin(aspect) - y * np.cos(aspect))


@pytest.mark.parametrize("slope", [0, 5, 20, 40, 60])
@pytest.mark.parametrize("aspect", [0, 33, 90, 200, 315])
def test_plane_has_its_slope_aspect_and_incidence(slope, aspect):
    east, south = gradient(plane(slope, aspect, 12).astype(np.float32), PIXEL)
    zenith, azimuth = np.radians(55), np.radians(160)
    sun = [np.full(east.shape, np.tan(zenith) * f(azimuth), np.float32) for f in (np.sin, np.cos)]
    got = slope_aspect_incidence(east, south, *sun)
    b, a = np.radians(slope), np.radians(aspect)
    expected = np.cos(zenith) * np.cos(b) + np.sin(zenith) * np.sin(b) * np.cos(azimuth - a)
    np.testing.assert_allclose(got[0], slope, atol=2e-3)
    np.testing.assert_allclose((got[1] - (aspect if slope else 0) + 180) % 360 - 180, 0, atol=0.02)
    np.testing.assert_allclose(got[2], expected, atol=2e-5)


def test_slope_and_aspect_are_those_of_the_library_in_all_directions():
    random = np.random.default_rng(4)
    east, south = random.normal(0, 1, (2, 300, 400)).astype(np.float32) ** 3
    east[0], south[:, 0] = 0, 0
    slope, aspect, _ = slope_aspect_incidence(east, south, east, south)
    np.testing.assert_allclose(slope, np.degrees(np.arctan(np.hypot(east, south, dtype="f8"))), atol=2e-5)
    expected = np.degrees(np.arctan2(-east.astype("f8"), south))
    np.testing.assert_allclose((aspect - expected + 180) % 360 - 180, 0, atol=4e-5)
    assert 0 <= aspect.min() <= aspect.max() <= 360
    assert aspect[0, 0] == slope[0, 0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0, 10, 30, 50])
@pytest.mark.parametrize("aspect", [0, 10, 75, 222])
def test_plane_sees_half_of_one_plus_cosine(slope, aspect):
    sky, _ = views(plane(slope, aspect, 60), 20)
    np.testing.assert_allclose(sky, (1 + np.cos(np.radians(slope))) / 2, atol=2e-3)


def test_horizon_of_a_profile_is_the_steepest_line_of_sight():
    random = np.random.default_rng(1)
    for n in (2, 3, 50, 400):
        height = random.normal(0, 50, n).cumsum().astype(np.float32)
        got = np.empty(n, np.float32)
        horizon_tangents(height, (1 / (PIXEL * np.arange(n).clip(1))).astype("f4"), np.empty(n, np.int32), got)
        for i in range(n - 1):
            expected = ((height[i + 1 :] - height[i]) / (PIXEL * np.arange(1, n - i))).max()
            assert got[i] == pytest.approx(expected, rel=1e-5)
        assert got[-1] == 0


def slow_sky_view(elevation, margin):
    """Sum over directions of Dozier and Frew's integrand with the horizon sampled along the exact ray."""
    from scipy.ndimage import map_coordinates

    rows, columns = (n - 2 * margin for n in elevation.shape)
    east, south = gradient(elevation[margin - 1 : 1 - margin, margin - 1 : 1 - margin], PIXEL)
    slope, aspect, _ = slope_aspect_incidence(east, south, east, south)
    slope, aspect = np.radians(slope.astype("f8")), np.radians(aspect.astype("f8"))
    y, x = np.mgrid[margin : margin + rows, margin : margin + columns]
    total = np.zeros((rows, columns))
    for azimuth in np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS:
        horizon = np.zeros((rows, columns))
        down, right = -np.cos(azimuth), np.sin(azimuth)
        longest = max(abs(down), abs(right))
        for n in range(1, max(elevation.shape)):
            at = np.array([y + n * down / longest, x + n * right / longest])
            ground = map_coordinates(elevation.astype("f8"), at, order=1, cval=-1e6)
            rise = (ground - elevation[margin:-margin, margin:-margin]) / (n * PIXEL / longest)
            horizon = np.maximum(horizon, np.arctan(rise))
        horizon = np.maximum(horizon, np.arctan(-np.tan(slope) * np.cos(azimuth - aspect)))
        h = np.pi / 2 - horizon
        total += np.cos(slope) * np.sin(h) ** 2
        total += np.sin(slope) * np.cos(azimuth - aspect) * (h - np.sin(h) * np.cos(h))
    return total / DIRECTIONS


@pytest.mark.slow
def test_sky_view_of_random_hills_is_that_of_the_slow_twin():
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(3)
    elevation = gaussian_filter(random.normal(0, 1, (90, 110)), 4)
    elevation = (elevation / elevation.std() * 100).astype(np.float32)
    sky, _ = views(elevation, 10)
    expected = slow_sky_view(elevation, 10)
    difference = np.abs(sky - expected)
    assert expected.min() < 0.8
    assert difference.mean() < 2e-3
    assert difference.max() < 0.02


def test_bottom_of_a_round_crater_sees_the_sine_squared_of_its_rim():
    """All around the horizon stands at elevation angle h, so the level centre sees cos(h)^2."""
    y, x = np.mgrid[-100:101, -100:101] * PIXEL
    radius = np.hypot(x, y)
    crater = np.where(radius > 1000, 600.0, 0.0)
    sky, _ = views(crater, 5)
    h = np.arctan(600 / 1010)
    assert sky[95, 95] == pytest.approx(np.cos(h) ** 2, abs=0.01)


def test_bowl_sees_the_same_sky_everywhere():
    """From any point of a sphere's inside the share of a part of it is that of the area: the bowl hides h / 2R."""
    y, x = np.mgrid[-130:131, -130:131] * PIXEL
    radius, rim = 3000.0, 2000.0
    depth = radius - np.sqrt(radius**2 - rim**2)
    distance = np.hypot(x, y)
    inside = np.sqrt(np.maximum(radius**2 - distance**2, 0))
    bowl = np.where(distance < rim, radius - inside, depth)
    sky, _ = views(bowl, 5)
    within = distance[5:-5, 5:-5] < 0.9 * rim
    np.testing.assert_allclose(sky[within], 1 - depth / (2 * radius), atol=0.012)
    np.testing.assert_allclose(sky[distance[5:-5, 5:-5] > rim + 2 * PIXEL], 1, atol=2e-3)


@pytest.mark.slow
def test_cone_sees_what_a_plane_sees_and_throws_a_shadow_of_two_tangents():
    """All of it lies behind its tangent planes; its shadow is the hull of its foot and of its tip's shadow."""
    y, x = np.mgrid[-150:151, -150:151] * PIXEL
    height, foot, zenith, azimuth = 700.0, 1000.0, 70.0, 205.0
    distance = np.hypot(x, y)
    cone = np.maximum(0, height * (1 - distance / foot))
    sky, shadow = views(cone, 5, zenith, azimuth)
    x, y, distance = (a[5:-5, 5:-5] for a in (x, y, distance))
    side = (distance > 10 * PIXEL) & (distance < foot - 3 * PIXEL)
    np.testing.assert_allclose(sky[side], (1 + np.cos(np.arctan(height / foot))) / 2, atol=4e-3)
    length = height * np.tan(np.radians(zenith))
    tip = -np.sin(np.radians(azimuth)) * length, np.cos(np.radians(azimuth)) * length
    # How far a point is outside of the nearest of the discs that the hull is made of.
    outside = np.min([np.hypot(x - t * tip[0], y - t * tip[1]) - (1 - t) * foot for t in np.linspace(0, 1, 401)], 0)
    beyond = distance > foot + 2 * PIXEL
    assert shadow[beyond & (outside < -1.5 * PIXEL)].all()
    assert not shadow[beyond & (outside > 1.5 * PIXEL)].any()


@pytest.mark.parametrize("azimuth", [180, 90, 135, 157.3])
def test_shadow_of_a_long_wall_has_the_length_of_its_height_times_tangent(azimuth):
    """A wall of height 300 m on the side of the sun, everything behind its foot line up to 300 tan(60) is dark."""
    y, x = np.mgrid[:300, :300] * PIXEL
    towards = x * np.sin(np.radians(azimuth)) - y * np.cos(np.radians(azimuth))
    edge = np.median(towards)
    wall = np.where(towards > edge, 300.0, 0.0)
    _, shadow = views(wall, 60, 60, azimuth)
    distance = (edge - towards)[60:-60, 60:-60]
    expected = 300 * np.tan(np.radians(60))
    assert shadow[(distance > 2 * PIXEL) & (distance < expected - 2 * PIXEL)].all()
    assert not shadow[distance > expected + 2 * PIXEL].any()
    assert not shadow[distance < -2 * PIXEL].any()


def test_shadow_of_a_pyramid_ends_at_the_shadow_of_its_tip():
    y, x = np.mgrid[-120:121, -120:121] * PIXEL
    pyramid = np.maximum(0, 500 - 0.5 * np.maximum(abs(x), abs(y)))
    _, shadow = views(pyramid, 1, 75, 200)
    length = 500 * np.tan(np.radians(75))
    # the sun stands in the SSW: the tip's shadow points to the NNE (up and right)
    tip = np.array([-np.cos(np.radians(20)), np.sin(np.radians(20))]) * length / PIXEL
    rows, columns = np.nonzero(shadow)
    along = (rows - 119) * tip[0] + (columns - 119) * tip[1]
    farthest = along.argmax()
    np.testing.assert_allclose([rows[farthest] - 119, columns[farthest] - 119], tip, atol=2.5)


def slow_shadow(elevation, margin, zenith, azimuth):
    from scipy.ndimage import map_coordinates

    rows, columns = (n - 2 * margin for n in elevation.shape)
    y, x = np.mgrid[margin : margin + rows, margin : margin + columns]
    down, right = -np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))
    longest = max(abs(down), abs(right))
    climb = PIXEL / longest / np.tan(np.radians(zenith))
    z = elevation.astype("f8")
    result = np.zeros((rows, columns), bool)
    for n in range(1, max(elevation.shape)):
        at = np.array([y + n * down / longest, x + n * right / longest])
        ground = map_coordinates(z, at, order=1, cval=-1e6)
        result |= ground > z[margin:-margin, margin:-margin] + n * climb + 1e-3
    return result


@pytest.mark.slow
@pytest.mark.parametrize("azimuth", [0, 17, 45, 101, 163.7, 180, 250, 300])
def test_cast_shadow_is_that_of_the_slow_twin(azimuth):
    from scipy.ndimage import gaussian_filter

    elevation = gaussian_filter(np.random.default_rng(4).normal(0, 1, (130, 150)), 3)
    elevation = (elevation / elevation.std() * 150).astype(np.float32)
    _, shadow = views(elevation, 8, 65, azimuth)
    expected = slow_shadow(elevation, 8, 65, azimuth)
    assert 0.1 < expected.mean() < 0.9
    assert (shadow != expected).mean() < 2e-4  # rounding of the direction to float32


def test_number_of_threads_changes_nothing():
    elevation = np.random.default_rng(5).normal(0, 30, (700, 90))
    for one, two in zip(views(elevation, 3), views(elevation, 3, threads=3), strict=True):
        np.testing.assert_array_equal(one, two)


def test_cells_know_their_lowest_point_and_the_highest_with_the_ring_around():
    z = np.random.default_rng(6).normal(size=(37, 50)).astype(np.float32)
    lowest, highest = cell_heights(z)
    for a in range(lowest.shape[0]):
        for b in range(lowest.shape[1]):
            assert lowest[a, b] == z[16 * a : 16 * a + 16, 16 * b : 16 * b + 16].min()
            assert highest[a, b] == z[max(16 * a - 1, 0) : 16 * a + 17, max(16 * b - 1, 0) : 16 * b + 17].max()


def test_field_between_nodes_is_bilinear():
    row, column = np.mgrid[:4, :5] * 7.0
    nodes = (3 + 0.5 * row - 0.25 * column + 0.01 * row * column).astype(np.float32)
    y, x = np.mgrid[6:22, :29]
    np.testing.assert_allclose(at_pixels(nodes, 7, 6, 16, 29), 3 + 0.5 * y - 0.25 * x + 0.01 * y * x, rtol=1e-5)
