"""Climatology of aerosol: against what sun photometers say, and against pvlib's relation of turbidity and aerosol."""

import numpy as np
import pytest

from steps.atmosphere.climatology import aerosol_climatology
from steps.atmosphere.extract_climatology import aerosol_thickness
from steps.atmosphere.uncertainty import AOT550

#: AERONET sites: latitude, longitude, elevation (km) and thickness at 550 nm in January, April, July and October.
#: Approximate means of many years (Holben et al. 2001, Journal of Geophysical Research 106, 12067, and later work).
SITES = {
    "Tamanrasset": (22.8, 5.5, 1.38, (0.08, 0.28, 0.37, 0.20)),
    "Banizoumbou": (13.5, 2.7, 0.25, (0.35, 0.60, 0.45, 0.40)),
    "Ilorin": (8.3, 4.3, 0.35, (0.90, 0.65, 0.40, 0.35)),
    "Alta Floresta": (-9.9, -56.1, 0.28, (0.12, 0.09, 0.18, 0.50)),
    "Mongu": (-15.3, 23.2, 1.1, (0.10, 0.10, 0.22, 0.40)),
    "Lille": (50.6, 3.1, 0.06, (0.15, 0.22, 0.19, 0.14)),
    "Toravere": (58.3, 26.5, 0.07, (0.10, 0.15, 0.15, 0.10)),
    "Rome": (41.8, 12.7, 0.13, (0.12, 0.20, 0.23, 0.17)),
    "GSFC": (39.0, -76.8, 0.09, (0.08, 0.15, 0.35, 0.12)),
    "Railroad Valley": (38.5, -116.0, 1.4, (0.03, 0.10, 0.10, 0.05)),
    "Mauna Loa": (19.5, -155.6, 3.4, (0.02, 0.02, 0.02, 0.02)),
    "Midway": (28.2, -177.4, 0.02, (0.08, 0.13, 0.06, 0.06)),
    "Amsterdam Island": (-37.8, 77.6, 0.03, (0.07, 0.05, 0.06, 0.06)),
    "Solar Village": (24.9, 46.4, 0.76, (0.20, 0.42, 0.38, 0.25)),
    "Singapore": (1.3, 103.8, 0.03, (0.25, 0.30, 0.35, 0.50)),
    "Lake Argyle": (-16.1, 128.7, 0.15, (0.10, 0.06, 0.06, 0.20)),
    "Capo Verde": (16.7, -22.9, 0.06, (0.30, 0.30, 0.55, 0.32)),
    "Dome C": (-75.1, 123.3, 3.2, (0.02, 0.02, 0.02, 0.02)),
    "Kanpur": (26.5, 80.2, 0.12, (0.65, 0.45, 0.65, 0.65)),
    "Beijing": (40.0, 116.4, 0.09, (0.50, 0.75, 0.85, 0.65)),
}


def test_sites():
    found, truth = [], []
    for latitude, longitude, height, values in SITES.values():
        for month, value in zip((1, 4, 7, 10), values, strict=True):
            usual, elevation = aerosol_climatology(
                np.array(latitude), np.array(longitude), f"2020-{month:02}-15T10:00Z"
            )
            found.append(usual * np.exp((elevation - height) / 2))
            truth.append(value)
    error, fixed = (np.abs(np.array(guess) - truth) for guess in (found, 0.2))
    assert np.median(error) < 0.06 < 0.12 < np.median(fixed)
    assert np.sqrt((error**2).mean()) < 0.9 * np.sqrt((fixed**2).mean())
    absolute, relative = AOT550["CLIMATOLOGY"]
    assert (error < absolute + relative / 2 * np.array(found)).mean() > 0.68
    assert found[list(SITES).index("Dome C") * 4] < 0.05


def test_between_months_and_across_the_date_line():
    place = np.array(15.0), np.array(5.0)
    january, february, between = (
        aerosol_climatology(*place, time)[0] for time in ("2023-01-16T05:00", "2023-02-15T16:00", "2023-01-31T10:00")
    )
    assert between == pytest.approx((january + february) / 2, abs=2e-3)
    december = [aerosol_climatology(*place, time)[0] for time in ("2023-12-31T10:00", "2024-01-01T10:00")]
    assert december[0] == pytest.approx(december[1], abs=2e-3)
    east, west = (aerosol_climatology(np.array(-17.0), np.array(v), "2023-06-15T10:00")[0] for v in (179.999, -179.999))
    assert east == pytest.approx(west, abs=1e-4)


def test_pole_is_read():
    assert np.isfinite(aerosol_climatology(np.array([90.0, -90.0]), np.array([0.0, 180.0]), "2023-06-15T10:00")).all()


@pytest.mark.parametrize("column", [0.5, 1.5, 3.0, 5.0])
@pytest.mark.parametrize("aot", [0.05, 0.2, 0.5])
def test_relation_is_that_of_kasten(column, aot):
    """At sea level: Kasten 1996 with the clean air and water vapour of Molineaux 1998, as pvlib's `kasten96_lt`.

    Its broadband aerosol is that at 700 nm; the exponent of continental aerosol is 1.3.
    """
    mass = 2
    broadband = -0.101 + 0.235 * mass**-0.16 + 0.112 * mass**-0.55 * column**0.34 + aot * (550 / 700) ** 1.3
    assert aerosol_thickness((9.4 + 0.9 * mass) * broadband, column, 0.0) == pytest.approx(aot, abs=0.022)
