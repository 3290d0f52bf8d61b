"""The classes of the scene classification (SCL): codes, names, colours, and which of them belong together."""

#: Codes of the classes, those of the Level-2A algorithm theoretical basis document (S2-PDGS-MPC-ATBD-L2A).
NO_DATA = 0
SATURATED_DEFECTIVE = 1
DARK = 2
SHADOW = 3
VEGETATION = 4
SOIL = 5
WATER = 6
UNCLASSIFIED = 7
CLOUD_MEDIUM = 8
CLOUD_HIGH = 9
CIRRUS = 10
SNOW = 11
#: Clouds that hide what is below, in whole or in part.
CLOUDS = (CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS)
#: Classes whose reflectance is not that of the ground around.
COVERED = (NO_DATA, *CLOUDS)

#: Class codes of the scene classification.
SCL_CLASSES = {
    NO_DATA: "NODATA",
    SATURATED_DEFECTIVE: "SATURATED_DEFECTIVE",
    DARK: "DARK_FEATURES",
    SHADOW: "CLOUD_SHADOW",
    VEGETATION: "VEGETATION",
    SOIL: "NOT_VEGETATED",
    WATER: "WATER",
    UNCLASSIFIED: "UNCLASSIFIED",
    CLOUD_MEDIUM: "MEDIUM_PROBA_CLOUDS",
    CLOUD_HIGH: "HIGH_PROBA_CLOUDS",
    CIRRUS: "THIN_CIRRUS",
    SNOW: "SNOW_ICE",
}

#: Red, green and blue of the classes, in the order of their codes: the legend in common use for Sentinel-2.
SCL_COLOURS = (
    (0, 0, 0),
    (255, 0, 0),
    (47, 47, 47),
    (100, 50, 0),
    (0, 160, 0),
    (255, 230, 90),
    (0, 0, 255),
    (128, 128, 128),
    (192, 192, 192),
    (255, 255, 255),
    (100, 200, 255),
    (255, 150, 255),
)
