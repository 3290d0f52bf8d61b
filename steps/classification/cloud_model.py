"""What the s2cloudless model says of clouds, as one of the improvements of the scene classification.

s2cloudless (Sinergise; `pip install s2cloudless`, which brings the model under CC BY-SA 4.0) is a gradient-boosted
forest of 170 trees on ten bands. Only its model file and `lightgbm` are used, neither OpenCV nor the Sentinel Hub
client. The package's (`S2PixelCloudDetector` of 1.7.3) are the ten bands as reflectance, the probability averaged over
a disk of 1 pixel, cloud above 0.4, grown by a disk of 1 pixel. It knows no pixel size. Ours is 60 m, the coarsest of
the ten bands: its makers use 160 m, which is an eighth of the cost, but there the model overlooks small clouds, and
calls what lies between them cloud.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from steps.classification.cloud_shadow import block_mean
from steps.core.errors import StepError
from steps.core.rasters import row_blocks

#: In the order of the model's columns.
MODEL_BANDS = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
#: Pixel size that the model sees, m.
PIXEL = 60
#: Radius in which probabilities are averaged, and that by which clouds grow, in such pixels.
AVERAGE = 1
GROWTH = 1
#: Probability from which a pixel is cloud.
THRESHOLD = 0.4
#: Predictions of the model: a pixel is clear, near a cloud, or cloud.
CLEAR, NEAR_CLOUD, CLOUD = range(3)
_FILE = "models/pixel_s2_cloud_detector_lightGBM_v0.1.txt"


def cloud_prediction(
    read_rows: Callable[[slice], dict[str, np.ndarray]], shape: tuple[int, int], resolution: int, threads: int
) -> np.ndarray:
    """Return the model's prediction of each pixel.

    Parameters
    ----------
    read_rows
        Returns rows of the `MODEL_BANDS`: float32 reflectance at the top of the atmosphere, 0 without data.
    shape
        Rows and columns of the scene.
    resolution
        Pixel size, m.
    threads
        The result does not depend on it.

    Returns
    -------
    uint8, shape (rows, columns)
        `CLEAR`, `NEAR_CLOUD` or `CLOUD`.

    Raises
    ------
    StepError
        If the model is not installed.
    """
    from scipy import ndimage

    model = _load()
    size = round(PIXEL / resolution)
    if min(shape) < size:
        return np.full(shape, NEAR_CLOUD, np.uint8)
    parts = []
    for rows in row_blocks(shape[0] // size * size, 64 * size):
        bands = read_rows(rows)
        valid = np.all([bands[name] != 0 for name in MODEL_BANDS], axis=0)
        features = np.stack([block_mean(bands[name], valid, size) for name in MODEL_BANDS], axis=-1)
        known = np.isfinite(features[..., 0])
        parts.append(np.zeros(known.shape, np.float32))
        if known.any():
            parts[-1][known] = model.predict(features[known], num_threads=threads)
    probability = np.concatenate(parts)
    cloud = ndimage.convolve(probability, _disk(AVERAGE) / _disk(AVERAGE).sum(), mode="reflect") > THRESHOLD
    prediction = np.where(cloud, CLOUD, np.where(ndimage.binary_dilation(cloud, _disk(GROWTH)), NEAR_CLOUD, CLEAR))
    row, column = (np.minimum(np.arange(n) // size, k - 1) for n, k in zip(shape, cloud.shape, strict=True))
    return prediction.astype(np.uint8)[row[:, None], column]


def _disk(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x**2 + y**2 <= radius**2).astype(np.float32)


def _load():
    """Return the model; neither `s2cloudless` nor what it imports is loaded."""
    package = importlib.util.find_spec("s2cloudless")
    try:
        import lightgbm
    except ImportError:
        lightgbm = None
    if package is None or lightgbm is None:
        raise StepError(
            "classification.cloud_model: s2cloudless is not installed; "
            "run `pip install -c envs/constraints.txt -e '.[s2cloudless]'` or choose `rules`"
        )
    return lightgbm.Booster(model_file=Path(package.submodule_search_locations[0]) / _FILE)
