"""The atmosphere: radiative transfer, look-up tables, gas absorption, band averages and the inversion to the surface.

Everything that knows how light travels between the sun, the ground and the sensor lives in this package.
"""

from steps.atmosphere.responses import reference_response

__all__ = ["reference_response"]
