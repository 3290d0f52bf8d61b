"""The thirteen bands, in the order of their `bandId`."""

#: Band name to pixel size in metres, in the order of the metadata's `bandId` 0 to 12.
PIXEL_SIZE = {
    "B01": 60,
    "B02": 10,
    "B03": 10,
    "B04": 10,
    "B05": 20,
    "B06": 20,
    "B07": 20,
    "B08": 10,
    "B8A": 20,
    "B09": 60,
    "B10": 60,
    "B11": 20,
    "B12": 20,
}
BANDS = tuple(PIXEL_SIZE)
RESOLUTIONS = (10, 20, 60)
#: Pixel size (m) to width and height of the tiles that JPEG 2000 images are coded in, pixels.
TILE_SIZE = {10: 1024, 20: 640, 60: 192}

#: Bands in the resampled stacks, used by classification, aerosol and water vapour (B8A stands for B08).
STACK_BANDS = tuple(b for b in BANDS if b != "B08")

#: Bands of surface reflectance written at each resolution (B10 sees no surface).
OUTPUT_BANDS = {
    10: ("B02", "B03", "B04", "B08"),
    20: ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12"),
    60: ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11", "B12"),
}


def native_bands(resolution: int) -> tuple[str, ...]:
    """Return the bands whose pixels measure `resolution` metres (10, 20 or 60)."""
    return tuple(band for band, size in PIXEL_SIZE.items() if size == resolution)
