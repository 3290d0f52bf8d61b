"""The atmosphere: radiative transfer, look-up tables, gas absorption, band averages, the inversion, and retrievals.

Everything that knows how light travels between the sun, the ground and the sensor lives in this package. A reader may
start with `inversion` (the equations), then `band` (what goes into them), `table` and `solver` (where it comes from).
"""

__all__ = ["invert_reflectance"]  # noqa: F822


def __getattr__(name: str):
    # Imported late: the workflow imports `models` from this package, and has neither NumPy nor Numba.
    if name in __all__:
        from steps.atmosphere import interface

        return getattr(interface, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
