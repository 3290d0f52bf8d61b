"""Classic and improved scene classification side by side: `python tests/compare_classification.py FOLDER`.

Not a test: prints a table of figures for the two modes, for improved mode without each of its improvements that makes
a difference to the scene, with a cloud buffer, and with the s2cloudless model where that is installed, and puts a
picture of each scene into FOLDER, and `shadows.csv`, the shares of clouds and shadows found. The scenes: the whole of
the demo's (real and free of cloud, so that all cloud and cloud shadow is false); the same under simulated clouds of
known height, random ones and those that the products of T31TCJ and T48LWP in ../shared outline; the same among
simulated mountains; a real one of Landsat 8 with clouds and shadows; what the images of those products hold; and
patches of 1 km in Slovenia from ../shared, three with the operational classification of their time and three from a
summer.
"""

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
from real_scenes import (
    VIEW,
    averaged,
    demo,
    landsat,
    patch,
    shadow_displacement,
    shadow_objects,
    thumbnail,
    under_clouds,
)
from scipy import ndimage
from simulated_clouds import (
    LEFT,
    SHARED,
    VAPOUR,
    VAPOUR_SCALE,
    b10_of_ground,
    b10_thickness,
    random_clouds,
    real_clouds,
    with_clouds,
)

from steps.benchmark.stamp import write_stamp
from steps.classification.cloud_shadow import displacement, shadow_limits
from steps.classification.images import hillshade
from steps.classification.improved import IMPROVEMENTS
from steps.scene_classification import classify_scene
from steps.sentinel2.scene_classes import SCL_CLASSES, SCL_COLOURS

CLOUDS, SHADOW, DARK = (8, 9, 10), 3, 2
#: Clouds that are drawn over the demo: cover, size in pixels, height in m, zenith and azimuth of the sun.
RANDOM = [
    (0.12, 25, 1000, (30, 150)),
    (0.20, 60, 1500, (45, 140)),
    (0.30, 40, 1800, (61.7, 160.8)),
    (0.15, 120, 3000, (40, 150)),
    (0.10, 60, 5000, (50, 155)),
    (0.10, 80, 8000, (35, 145)),
]
#: Product, row and column (60 m) of outlined clouds that are drawn over the demo, their height in m, and the sun.
OUTLINED = [
    ("T31TCJ 2024-03-05", 600, 1500, 1500, (56, 160)),
    ("T31TCJ 2024-03-05", 1200, 1500, 2500, (56, 160)),
    ("T31TCJ 2024-03-05", 300, 900, 4000, (56, 160)),
    ("T48LWP 2021-07-13", 900, 0, 1000, (40.9, 37.9)),
    ("T48LWP 2021-07-13", 900, 900, 2000, (40.9, 37.9)),
]
#: Products whose images are some pixels: their offset, and the size of these pixels, m (T48LWP: of the tile's, one in
#: 5.5 km each way).
THUMBNAILS = [
    ("l1c_safe_48LWP_n0301/S2A", 0, 20, (40.9, 37.9)),
    ("l1c_safe_31TCJ_n0510/S2A", -1000, 10, (65.8, 162.7)),
    ("l1c_safe_31TCJ_n0510/S2B", -1000, 10, (51.8, 158.4)),
]
#: What each row of the table is made with.
MODES = {"classic": {"mode": "classic"}, "improved": {"mode": "improved"}} | {
    f"  without {name}": {"mode": "improved", "improvements": [i for i in IMPROVEMENTS if i != name]}
    for name in IMPROVEMENTS
}
MODES["  with a buffer of 60 m"] = {"mode": "improved", "cloud_buffer": 60}
MODEL = "  with s2cloudless"
if all(importlib.util.find_spec(name) for name in ("s2cloudless", "lightgbm")):
    MODES[MODEL] = {"mode": "improved", "cloud_model": "s2cloudless"}


def classified(toa, sun, view=(), without=(), **maps):
    """Yield the name of each row and its classes and cloud probabilities; of switches only those that matter here."""
    made = [name for name in IMPROVEMENTS if name not in without]
    improved = None
    for name, mode in MODES.items():
        if name == MODEL and "B08" not in toa:
            continue
        if mode["mode"] == "improved":
            chosen = [i for i in mode.get("improvements", made) if i in made]
            options = dict(view) | maps | {"improvements": chosen}
            options |= mode | {"improvements": chosen, "shadows": overview_shadows(toa, sun, **options)}
        else:
            options = mode | {key: a for key, a in maps.items() if key not in ("water_vapour", "cast_shadow")}
        scl, cloud, _ = classify_scene(toa, 20, *sun, **options)
        improved = scl if name == "improved" else improved
        if "without" not in name or (scl != improved).any():
            yield name, scl, cloud


def overview_shadows(toa, sun, improvements, view_zenith=0, view_azimuth=0, **maps):
    """Return where shadows fall as the workflow finds it: from the classes of the scene at 80 m."""
    coarse = {name: averaged(image, 4) for name, image in toa.items() if name != "B08"}
    maps = {name: averaged(a, 4) if isinstance(a, np.ndarray) else a for name, a in maps.items()}
    maps |= {"view_zenith": view_zenith, "view_azimuth": view_azimuth, "improvements": improvements}
    directions = np.array([[displacement(*sun, view_zenith, view_azimuth)]])
    no_clouds = np.full_like(coarse["B8A"], 5, "u1")
    nowhere = shadow_limits(no_clouds, coarse["B8A"], coarse["B11"], 80, directions)
    scl, _, _ = classify_scene(coarse, 80, *sun, mode="improved", shadows=nowhere, **maps)
    limits = shadow_limits(scl, coarse["B8A"], coarse["B11"], 80, directions)
    rows, columns = (np.minimum(np.arange(n) // 4, m - 1) for n, m in zip(toa["B02"].shape, scl.shape, strict=True))
    return limits._replace(rows=rows, columns=columns)


def share(condition, valid):
    return 100 * np.count_nonzero(condition & valid) / max(np.count_nonzero(valid), 1)


def compare_clouds(title, toa, opacity, height, sun, path, depth=1.0, **maps):
    """Print how much of simulated clouds and shadows is found, and what else is called so; draw the classes.

    Returns, for the first two modes, the rows of `shadows.csv`.
    """
    image, cloud, shadow, clear = with_clouds(toa, opacity, height, sun, tuple(VIEW.values()), depth)
    if depth < 1:
        cloud, clear = opacity > 0.5, ~ndimage.binary_dilation(opacity > 0, iterations=int(height / 800))
    # Water shows no shadow.
    shadow &= toa["B8A"] > 0.15
    sys.stdout.write(f"\n{title}\n{'%':24}   cloud found  false  shadow found  false\n")
    classes, rows = {}, []
    for name, scl, _ in classified(image, sun, VIEW, **maps):
        found = np.isin(scl, CLOUDS)
        row = share(found, cloud), share(found, clear), share(scl == SHADOW, shadow), share(scl == SHADOW, clear)
        sys.stdout.write("{:24}{:14.1f}{:7.2f}{:14.1f}{:7.2f}\n".format(name, *row))
        classes[name] = scl
        if name in ("classic", "improved"):
            rows.append((title, name, *(f"{value:.1f}" for value in row)))
    picture(path, image, {name: classes[name] for name in ("classic", "improved")})
    return rows


def figures(scl, cloud, where, expected):
    """Return the text of one row: shares of the valid pixels (percent), and agreement with the classes expected."""
    valid = (scl != 0) & where
    row = [share(np.isin(scl, CLOUDS), valid), *(share(scl == c, valid) for c in (SHADOW, DARK, 4, 5, 6, 7, 11))]
    wrong = np.where(np.isin(scl, CLOUDS), cloud < 20, cloud >= 20)
    row.append(share(wrong, valid))
    text = "".join(f"{value:8.2f}" for value in row)
    if expected is None:
        return text
    both = valid & (expected != 0)
    text += f"{share(scl == expected, both):10.2f} "
    classes = [c for c in SCL_CLASSES if np.any(both & (expected == c))]
    return text + " ".join(f"{c}: {share(scl == expected, both & (expected == c)):.0f}" for c in classes)


def compare(title, toa, sun, path, view=(), expected=None, where=True, without=(), **maps):
    """Print the rows of one scene, draw and return the classes of the first two."""
    head = "".join(f"{h:>8}" for h in ("cloud", "shadow", "dark", "veg.", "bare", "water", "uncl.", "snow", "CLD!"))
    agree = "" if expected is None else "     agree  of each class of the product (%)"
    sys.stdout.write(f"\n{title}\n{'% of valid pixels':24}{head}{agree}\n")
    classes = {}
    for name, scl, cloud in classified(toa, sun, view, without, **maps):
        sys.stdout.write(f"{name:24}{figures(scl, cloud, where, expected)}\n")
        classes[name] = scl
    shown = {name: classes[name] for name in ("classic", "improved")}
    picture(path, toa, shown if expected is None else shown | {"product": expected})
    return shown


def compare_real_shadows(folder):
    """Print where the shadows of a real scene lie, and how dark the ground is there; draw them as outlines."""
    toa, sun = landsat()
    # Clouds stand still between Landsat's bands, and its B09 is made up.
    classes = compare(
        "Landsat 8, a winter of 2013 to 2015 (30.7 N 87.4 W), a sheet of high clouds over fields and forest", toa, sun,
        folder / "landsat.png", without=("parallax", "vapour"),
    )  # fmt: skip
    displacement = shadow_displacement(classes["improved"], toa)
    thick, thin = under_clouds(toa, displacement)
    for name, scl in classes.items():
        shares, land = shadow_objects(scl, toa), (scl != 6) & (scl < 8)
        sys.stdout.write(
            f"{name}: {len(shares)} shadows of 1 ha or more, {share(shares < 0.95, shares > 0):.0f} % of them darker in"
            f" B8A than 0.95 of the land around, median {np.median(shares) if len(shares) else np.nan:.2f};"
            f" {share(scl == SHADOW, thick & land):.1f} % of the land under the thickest third of the clouds is shadow,"
            f" {share(scl == SHADOW, thin & land):.1f} % under the thinnest\n"
        )
    azimuth, distance = displacement
    sys.stdout.write(
        f"improved: shadows repeat the clouds' pattern in B02 {distance / 1000:.1f} km away, at {azimuth:.0f} degrees;"
        f" away from the sun is {sun[1] + 180:.0f}\n"
    )
    outlines(folder / "landsat_shadows.png", toa, classes["improved"] == SHADOW)


def compare_mountains(toa, sun, folder):
    """Print what is made of the shadows of simulated mountains, and of cirrus over a high plateau in dry air."""
    rng = np.random.default_rng(0)
    rows, columns = toa["B02"].shape
    relief = ndimage.gaussian_filter(rng.normal(size=(rows, columns)), 20)
    relief = (300 * relief / relief.std()).astype("f4")
    # Ground is shaded where any ground towards the sun stands above the ray.
    cast = np.zeros(relief.shape, np.bool_)
    towards = np.array([-np.cos(np.radians(sun[1])), np.sin(np.radians(sun[1]))])
    for distance in range(20, 3000, 20):
        shift = -towards * distance / 20
        cast |= ndimage.shift(relief, shift, order=1, cval=-1e4) > relief + distance / np.tan(np.radians(sun[0]))
    image = {b: np.where(cast, a * LEFT.get(b, 0.5), a).astype("f4") for b, a in toa.items()}
    north, west = np.gradient(-relief, 20)
    slope = np.degrees(np.arctan(np.hypot(north, west))).astype("f4")
    aspect = (np.degrees(np.arctan2(-west, north)) % 360).astype("f4")
    maps = {"dem": relief - relief.min(), "slope": slope, "hillshade": hillshade(slope, aspect, *sun)}
    title = "T18SVG among simulated mountains: their shadows, away from water"
    where = cast & (toa["B8A"] > 0.15)
    compare(title, image, sun, folder / "mountains.png", VIEW, where=where, cast_shadow=cast.view("u1"), **maps)
    height = np.broadcast_to(np.linspace(0, 4000, columns, dtype="f4"), (rows, columns)).copy()
    ground = b10_of_ground(height, toa["B8A"], b10_thickness(0.9 * VAPOUR, sun[0]))
    flat = {"dem": height, "slope": np.zeros_like(height), "hillshade": np.full(height.shape, 255, "u1")}
    title = "T18SVG lifted to 0-4 km in air 10 % drier than said, with cirrus of opacity 0.05 drawn at 11 km"
    column = VAPOUR * np.exp(-2 / VAPOUR_SCALE)
    opacity = random_clouds((rows, columns), 0.3, 100, 9)
    compare_clouds(
        title, toa | {"B10": toa["B10"] + ground}, opacity, 11000, sun, folder / "cirrus.png", 0.05,
        water_vapour=column, **flat,
    )  # fmt: skip


def picture(path, toa, classes):
    """Draw true colour, B8A and each classification."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colour = np.stack([toa[b] for b in ("B04", "B03", "B02")], axis=-1)
    colour = np.clip((colour - 0.03) / (np.percentile(colour, 99) - 0.03), 0, 1)
    figure, axes = plt.subplots(1, 2 + len(classes), figsize=(5 * (2 + len(classes)), 5.2), layout="constrained")
    axes[0].imshow(colour)
    axes[0].set_title("B04 B03 B02")
    axes[1].imshow(toa["B8A"], cmap="gray", vmax=np.percentile(toa["B8A"], 99))
    axes[1].set_title("B8A")
    for axis, (name, scl) in zip(axes[2:], classes.items(), strict=True):
        axis.imshow(np.array(SCL_COLOURS, "u1")[scl])
        axis.set_title(name)
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(path, dpi=60)
    plt.close(figure)


def outlines(path, toa, shadow):
    """Draw B11, B8A and B04 as colours, without and with the outlines of the shadows."""
    from PIL import Image

    ranges = (("B11", 0.02, 0.42), ("B8A", 0.1, 0.5), ("B04", 0.02, 0.32))
    colour = np.stack([np.clip((toa[b] - low) / (high - low), 0, 1) for b, low, high in ranges], axis=-1)
    colour = np.rint(255 * colour).astype("u1")
    marked = colour.copy()
    marked[shadow & ~ndimage.binary_erosion(shadow)] = 255, 0, 0
    Image.fromarray(np.hstack([colour, marked])).save(path)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.write("CLD!: pixels whose cloud probability disagrees with their class\n")
    if MODEL not in MODES:
        sys.stdout.write("s2cloudless is not installed: no rows with it\n")
    toa, sun = demo()
    compare("T18SVG 2016-01-12, free of cloud", toa, sun, folder / "T18SVG.png", VIEW)
    no_b08 = {band: image for band, image in toa.items() if band != "B08"}
    compare("T18SVG without B08, so without parallax", no_b08, sun, folder / "T18SVG_no_B08.png", VIEW)
    shape, known, rows = toa["B02"].shape, (SHARED / "data").exists(), []
    for number, (cover, size, height, light) in enumerate(RANDOM):
        title = f"T18SVG under random clouds at {height} m, size {size} px, cover {100 * cover:.0f} %, sun {light}"
        opacity = random_clouds(shape, cover, size, number)
        rows += compare_clouds(title, toa, opacity, height, light, folder / f"T18SVG_random_{height}m.png")
    for product, row, column, height, light in OUTLINED if known else ():
        title = f"T18SVG under the clouds of {product}, row {row}, column {column}, put at {height} m, sun {light}"
        opacity = real_clouds(shape, product, row, column)
        rows += compare_clouds(title, toa, opacity, height, light, folder / f"T18SVG_{product[:6]}_{height}m.png")
    with (folder / "shadows.csv").open("w", newline="", encoding="utf-8") as file:
        head = ("scene", "mode", "cloud found, %", "false cloud, %", "shadow found, %", "false shadow, %")
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    write_stamp(folder / "stamp.json", "python tests/compare_classification.py FOLDER")
    compare_mountains(toa, sun, folder)
    compare_real_shadows(folder)
    for product, offset, size, light in THUMBNAILS if known else ():
        few = thumbnail(product, offset, size)
        title = f"What the images of {product} hold: {few['B02'].size} pixels"
        compare(title, few, light, folder / f"{product[9:14]}_{product[-3:]}.png")
    for path in sorted((SHARED / "data" / "slovenia_patches").glob("*.npz")):
        toa, sun, elevation, product = patch(path)
        # The patches have no slopes; without these the rules of hillshade are void.
        flat = {"slope": np.zeros_like(elevation), "hillshade": np.full(elevation.shape, 255, "u1")}
        compare(f"Slovenia {path.stem}", toa, sun, folder / f"{path.stem}.png", expected=product, dem=elevation, **flat)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
