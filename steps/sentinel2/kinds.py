"""Kinds of the rasters between the stages: what their stored numbers mean."""

from dataclasses import replace

from steps.core.rasters import Kind

#: Reflectance, at the top of the atmosphere or at the surface, has one internal scale: stored = reflectance *
#: `REFLECTANCE_ONE` + `REFLECTANCE_ZERO`. So it is the number of an L1C or L2A product of baseline 04.00 and later; 1
#: is the lowest valid number (reflectance -0.0999), 0 is no data, rounding is at most 5e-5.
REFLECTANCE_ONE = 10000
REFLECTANCE_ZERO = 1000
REFLECTANCE_SCALE = 1 / REFLECTANCE_ONE
REFLECTANCE_OFFSET = -REFLECTANCE_ZERO / REFLECTANCE_ONE
TOA = Kind("toa_reflectance", "uint16", 0, REFLECTANCE_SCALE, REFLECTANCE_OFFSET)
BOA = Kind("boa_reflectance", "uint16", 0, REFLECTANCE_SCALE, REFLECTANCE_OFFSET)
#: Before the correction of terrain the numbers keep their fractions: it divides them, and their rounding with them.
UNROUNDED_BOA = replace(BOA, dtype="float32")
#: Standard uncertainty (k = 1) of surface reflectance.
UNCERTAINTY = Kind("reflectance_uncertainty", "uint16", 0, 1e-5)
#: Surface reflectance after the correction of terrain over that of level ground, from which it was made.
GAIN = Kind("terrain_gain", "uint16", 0, 1e-3)
#: Bit flags of a pixel, see `MASK_NODATA` and following.
MASK = Kind("mask", "uint8")
MASK_NODATA = 1
MASK_SATURATED = 2
MASK_DEFECTIVE = 4
#: Sun and view angles in degrees at the 5 km nodes; the bands are `sun_zenith`, `sun_azimuth`, `view_zenith_B01` ...
ANGLES = Kind("angles", "float32", float("nan"))
#: Scale of each band of the terrain.
TERRAIN_SCALES = {
    "elevation": 1.0,
    "slope": 0.01,
    "aspect": 0.02,
    "cos_incidence": 1e-4,
    "sky_view": 1e-4,
    "cast_shadow": 1.0,
}
#: Terrain: elevation (m), slope and aspect (degrees), cosine of the local solar incidence, sky-view factor (0-1),
#: cast shadow (1 = in shadow).
TERRAIN = Kind("terrain", "int16", -32768, scales=TERRAIN_SCALES)
#: Bands `SCL` (classes 0-11), `CLD` and `SNW` (cloud and snow probability, percent).
CLASSIFICATION = Kind("classification", "uint8", 0)
#: What the retrieval of aerosol says of the ground: bit flags at 80 m.
AEROSOL_GROUND = Kind("aerosol_ground", "uint8")
GROUND_DARK_VEGETATION = 1
GROUND_AOT_FILLED = 2
#: Aerosol optical thickness at 550 nm.
AOT = Kind("aot550", "uint16", 0, 1e-3)
#: Its standard uncertainty, in cells of the whole tile.
AOT_UNCERTAINTY = Kind("aot550_uncertainty", "uint16", None, 1e-4)
#: Column water vapour, g/cm2.
WVP = Kind("water_vapour", "uint16", 0, 1e-3)
