"""The nodes of a look-up table, solved for one aerosol model.

Only multiple scattering is tabulated, because single scattering is exact in closed form and has all the sharp features.
Between the nodes the table is a cubic spline in every axis. What this module imports decides the digest in a table's
name (`models.lut_path`), so it reads and writes nothing.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from steps.atmosphere.scattering import delta_m, legendre_moments
from steps.atmosphere.solver import solve
from steps.atmosphere.tables import STANDARD_PRESSURE, aerosol_model, pressure, rayleigh_thickness

#: Nodes of the axes. Pressure (elevation in km), aerosol optical thickness, sun and view zenith angle (degrees).
ELEVATION = np.array([9.0, 5.5, 3.0, 1.0, -0.5])
AOT = np.array([0, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.2, 1.6, 2.2, 3.0])
SUN_ZENITH = np.array([80.0, 78, 74, 70, 66, 61, 55, 48, 40, 32, 24, 16, 8, 0])
VIEW_ZENITH = np.array([0.0, 4, 8, 12])
#: Azimuthal Fourier modes kept.
MODES = 4
#: Gauss angles in a hemisphere.
GAUSS = 12


def build_table(aerosol: str, threads: int = 1) -> dict[str, np.ndarray]:
    """Solve every node of the look-up table of an aerosol model.

    Returns
    -------
    dict
        The arrays of the file, with axes (wavelength, pressure, AOT, sun, view, mode) or some of these, single
        precision, rounded to 1e-7, so that the last digits of a processor's exponential function do not show.
    """
    from scipy.interpolate import make_interp_spline

    model, rayleigh = aerosol_model(aerosol), rayleigh_thickness()
    shape = (model.wavelength.size, ELEVATION.size, AOT.size)
    suns, views = np.cos(np.radians(SUN_ZENITH)), np.cos(np.radians(VIEW_ZENITH))
    multiple = np.empty((*shape, suns.size, views.size, MODES))
    down, up, albedo = np.empty((*shape, suns.size)), np.empty((*shape, views.size)), np.empty(shape)
    aerosol_up = np.empty((shape[0], shape[2], views.size))
    moments = [legendre_moments(model.angle, phase, 2 * GAUSS) for phase in model.phase]

    def solve_wavelength(i):
        for k, aot in enumerate(AOT):
            thickness = aot * model.extinction[i]
            for j, p in enumerate(pressure(ELEVATION)):
                s = solve(
                    rayleigh[i] * p / STANDARD_PRESSURE,
                    thickness,
                    model.albedo[i],
                    moments[i],
                    suns,
                    views,
                    modes=MODES,
                )
                multiple[i, j, k] = s.multiple.T
                down[i, j, k], up[i, j, k] = s.transmittance_down, s.transmittance_up
                albedo[i, j, k] = s.spherical_albedo
            s = solve(0.0, max(thickness, 1e-9), model.albedo[i], moments[i], views[:1], views, modes=1)
            aerosol_up[i, k] = s.transmittance_up

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(solve_wavelength, range(shape[0])))
    solved = {
        "multiple": multiple,
        "transmittance_down": down,
        "transmittance_up": up,
        "spherical_albedo": albedo,
        "aerosol_transmittance_up": aerosol_up,
    }
    model_and_axes = {
        "aerosol": np.array(aerosol),
        "wavelength": model.wavelength,
        "extinction": model.extinction,
        "albedo": model.albedo,
        "peak": np.array([delta_m(b)[1] for b in moments]),
        "rayleigh": rayleigh,
        "angle": model.angle,
        "log_phase": np.log(model.phase),
    }
    axes = {"pressure": pressure(ELEVATION), "aot": AOT, "sun": suns, "view": VIEW_ZENITH}
    for name, axis in axes.items():
        # The cubic spline through values at the axis: its knots, and the matrix from the values to its coefficients.
        spline = make_interp_spline(axis, np.eye(axis.size))
        model_and_axes |= {f"knots_{name}": spline.t, f"coefficients_{name}": spline.c}
    return {name: np.round(values, 7).astype("f4") for name, values in solved.items()} | model_and_axes
