"""Where the sun and the satellite stood: computed for the demo product, which comes without metadata."""

import datetime as dt

import numpy as np

#: Reference orbit: absolute orbit 44807 of Sentinel-2A is number 51 of the 143 that repeat every ten days.
_REFERENCE_TIME = dt.datetime(2024, 1, 20, 10, 54, 33, tzinfo=dt.UTC)
_REFERENCE_ORBIT = 44807
_REFERENCE_RELATIVE = 51
_ORBITS_PER_CYCLE = 143
_CYCLE = dt.timedelta(days=10)

#: Half the angle (degrees) between the lines of sight of odd and even detectors along the track. The detectors lie in
#: two staggered rows and each band has its own filter strip, so odd ones look ahead and even ones back. Estimated
#: from the view-angle grids of two published Sentinel-2A products, which agree within 0.01 degrees.
HALF_PARALLAX = {
    "B01": 1.80,
    "B02": 0.545,
    "B03": 0.83,
    "B04": 1.09,
    "B05": 1.23,
    "B06": 1.37,
    "B07": 1.51,
    "B08": 0.69,
    "B8A": 1.65,
    "B09": 1.94,
    "B10": 1.01,
    "B11": 1.35,
    "B12": 1.69,
}
#: Width of a detector's footprint and overlap with each neighbour, m; detectors 1-12 from west to east (descending).
DETECTOR_WIDTH = 24150.0
DETECTOR_OVERLAP = 600.0
#: Tangent of the across-track view zenith angle per metre of distance from the ground track, at 786 km altitude.
_TANGENT_PER_METRE = 1.417e-6


def sun_position(time: dt.datetime, longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the direction of the sun, without refraction.

    Low-accuracy formulas of J. Meeus, Astronomical Algorithms (2nd edition), chapters 12 (sidereal time), 13
    (horizontal coordinates), 22 and 25 (obliquity, solar coordinates); good to 0.01 degrees from 1950 to 2050.

    Parameters
    ----------
    time
        UTC.
    longitude, latitude
        Degrees, east and north positive; equal shapes.

    Returns
    -------
    zenith, azimuth
        Degrees; azimuth clockwise from north, 0-360.
    """
    longitude, latitude = np.asarray(longitude), np.radians(latitude)
    century = (time - dt.datetime(2000, 1, 1, 12, tzinfo=dt.UTC)) / dt.timedelta(days=36525)
    anomaly = np.radians(357.52911 + 35999.05029 * century)
    centre = (
        (1.914602 - 0.004817 * century) * np.sin(anomaly)
        + (0.019993 - 0.000101 * century) * np.sin(2 * anomaly)
        + 0.000289 * np.sin(3 * anomaly)
    )
    true_longitude = 280.46646 + 36000.76983 * century + centre
    node = np.radians(125.04 - 1934.136 * century)
    apparent = np.radians(true_longitude - 0.00569 - 0.00478 * np.sin(node))
    obliquity = np.radians(23.439291 - 0.0130042 * century + 0.00256 * np.cos(node))
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(apparent), np.cos(apparent))
    declination = np.arcsin(np.sin(obliquity) * np.sin(apparent))
    sidereal = 280.46061837 + 360.98564736629 * century * 36525
    hour_angle = np.radians(sidereal + longitude) - right_ascension
    east = -np.cos(declination) * np.sin(hour_angle)
    north = np.sin(declination) * np.cos(latitude) - np.cos(declination) * np.cos(hour_angle) * np.sin(latitude)
    up = np.sin(declination) * np.sin(latitude) + np.cos(declination) * np.cos(hour_angle) * np.cos(latitude)
    return np.degrees(np.arctan2(np.hypot(east, north), up)), np.degrees(np.arctan2(east, north)) % 360


def earth_sun_factor(time: dt.datetime) -> float:
    """Return U, the inverse square of the Earth-Sun distance, by the formula of ESA's Level-1C algorithm overview.

    U = (1 - 0.01673 cos(0.0172 (t - 2)))^-2; with t in days from noon of 1950-01-01 and the start of the datatake as
    `time` it gives all digits of the products' own U.
    """
    days = (time - dt.datetime(1950, 1, 1, 12, tzinfo=dt.UTC)) / dt.timedelta(days=1)
    return float((1 - 0.01673 * np.cos(0.0172 * (days - 2))) ** -2)


def orbits(time: dt.datetime) -> tuple[int, int]:
    """Return absolute and relative orbit number of Sentinel-2A on a descending pass at mid northern latitudes."""
    passed = round((time - _REFERENCE_TIME) / (_CYCLE / _ORBITS_PER_CYCLE))
    return _REFERENCE_ORBIT + passed, (_REFERENCE_RELATIVE - 1 + passed) % _ORBITS_PER_CYCLE + 1


class Swath:
    """The ground track of a descending pass and the lines of sight to it, on a plane.

    Parameters
    ----------
    x, y
        A point of the ground track, map coordinates in m.
    heading
        Direction of flight over the ground, degrees clockwise from the map's north.
    """

    def __init__(self, x: float, y: float, heading: float):
        self._x, self._y, self._heading = x, y, np.radians(heading)

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the distance of map coordinates from the ground track, both in m, positive on its left (the east)."""
        return (y - self._y) * np.sin(self._heading) - (x - self._x) * np.cos(self._heading)

    def easting(self, distance: float, y: float) -> float:
        """Return the easting (m) where the line at `distance` (m) beside the ground track passes northing `y` (m)."""
        return self._x + ((y - self._y) * np.sin(self._heading) - distance) / np.cos(self._heading)

    def detectors(self, x: np.ndarray, y: np.ndarray) -> list[int]:
        """Return the detectors (1-12) that see any of the points, map coordinates in m, in ascending order."""
        return [d for d in range(1, 13) if self.seen_by(d, x, y).any()]

    def edges(self, detector: int) -> tuple[float, float]:
        """Return the distances from the ground track of the edges of a detector's footprint, m."""
        near = (detector - 7) * DETECTOR_WIDTH
        return near - DETECTOR_OVERLAP, near + DETECTOR_WIDTH + DETECTOR_OVERLAP

    def seen_by(self, detector: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return whether points, map coordinates in m, lie in the footprint of a detector (bool, of their shape)."""
        first, last = self.edges(detector)
        distance = self.distance(x, y)
        return (first <= distance) & (distance <= last)

    def view(self, band: str, detector: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute view zenith and azimuth (degrees, towards the sensor) of points of one detector's footprint."""
        across = _TANGENT_PER_METRE * self.distance(x, y)
        along = np.tan(np.radians(HALF_PARALLAX[band])) * (1 if detector % 2 else -1)
        east = along * np.sin(self._heading) + across * np.cos(self._heading)
        north = along * np.cos(self._heading) - across * np.sin(self._heading)
        return np.degrees(np.arctan(np.hypot(east, north))), np.degrees(np.arctan2(east, north)) % 360
