"""Path radiance removed over a dark lake, beside what ESA's processor removed on the same days."""

import csv
import datetime
import os
from pathlib import Path

import numpy as np
import pytest
from synthetic import table

from steps.atmosphere.band import band_atmosphere
from steps.atmosphere.inversion import surface_reflectance
from steps.sentinel2.responses import reference_response

SHARED = Path(os.environ.get("SEN2FLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
PAIRS = SHARED / "data/lake_erken_pairs.csv"
LATITUDE, LONGITUDE = 59.84, 18.60
pytestmark = pytest.mark.skipif(not PAIRS.exists(), reason="lake_erken_pairs.csv is not here")


def sun_zenith(product):
    """Degrees, from the date and time in a product's name (declination by Cooper's formula; good to half a degree)."""
    time = datetime.datetime.strptime(product.split("_")[2], "%Y%m%dT%H%M%S")
    day = time.timetuple().tm_yday
    declination = np.radians(23.45 * np.sin(2 * np.pi * (284 + day) / 365))
    hour_angle = np.radians(15 * (time.hour + time.minute / 60 - 12) + LONGITUDE)
    latitude = np.radians(LATITUDE)
    cosine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    return np.degrees(np.arccos(cosine))


def removed():
    """L1C minus surface reflectance of B04, B05, B06: ESA's, and ours for each aerosol thickness."""
    thickness = np.linspace(0.0, 0.5, 51)
    with PAIRS.open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            ours, esa = [], []
            for band in ("B4", "B5", "B6"):
                satellite = row["l1c_product"][:3].replace("S2C", "S2A")
                toa = float(row[f"L1C_{band}"])
                atmosphere = band_atmosphere(
                    table(),
                    reference_response(satellite, f"B0{band[1]}"),
                    sun_zenith=sun_zenith(row["l1c_product"]),
                    view_zenith=6.0,
                    relative_azimuth=90.0,
                    elevation_km=0.011,
                    aot550=thickness,
                    water_vapour=1.5,
                    ozone=0.33,
                )
                ours.append(toa - surface_reflectance(toa, atmosphere))
                esa.append(toa - float(row[f"L2A_{band}"]))
            yield row["l1c_product"], thickness, np.array(ours), np.array(esa)


def test_path_radiance_over_a_dark_lake():
    spread = []
    for product, thickness, ours, esa in removed():
        assert (ours > 0).all(), product
        best = np.abs(ours[0] - esa[0]).argmin()
        assert thickness[best] <= 0.5, product
        if thickness[best] < 0.4:  # all days but one of haze
            assert np.abs(ours[0, best] - esa[0]) < 5e-4, product
            spread.append(ours[1:, best] - esa[1:])
    # The thickness that explains what ESA took from the red explains the red edge at 705 nm as well. At 740 nm ESA took
    # more: also the light of the forests around the lake, which a lone pixel knows nothing of.
    assert len(spread) == 10
    assert np.abs(np.median(spread, axis=0))[0] < 1.5e-3
    assert np.abs(spread)[:, 0].max() < 2e-3
    assert (np.array(spread)[:, 1] < 0).all()
    assert np.abs(spread)[:, 1].max() < 9e-3
