"""Classic and improved scene classification side by side: `python tests/compare_classification.py FOLDER`.

Not a test: prints a table of figures for the two modes and for improved mode without each of its improvements, and
puts a picture of each scene into FOLDER. The scenes: the demo's (real and free of cloud, so that all cloud and cloud
shadow is false), the same under simulated clouds of known height, random ones and those that the product of T31TCJ of
2024-03-05 outlines, and patches of 1 km in Slovenia from ../shared, three with the operational classification of their
time and three from a summer. Of the products of T31TCJ and T48LWP no pixels are at hand that could be classified.
"""

import sys
from pathlib import Path

import numpy as np
from simulated_clouds import SHARED, random_clouds, real_clouds, with_clouds

from steps.demo import read_band, scene_folder
from steps.kernels.classification_improved import IMPROVEMENTS
from steps.scene_classification import classify_scene
from steps.sentinel2.bands import BANDS, PIXEL_SIZE, SCL_CLASSES, SCL_COLOURS

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
#: Row and column (60 m) in T31TCJ of the clouds that are drawn over the demo, their height in m, and the sun.
REAL = [(600, 1500, 1500, (56, 160)), (1200, 1500, 2500, (56, 160)), (300, 900, 4000, (56, 160))]
#: What each row of the table is made with.
MODES = {"classic": {"mode": "classic"}, "improved": {"mode": "improved"}} | {
    f"  without {name}": {"mode": "improved", "improvements": [i for i in IMPROVEMENTS if i != name]}
    for name in IMPROVEMENTS
}


def demo():
    """Return the demo's reflectance at 20 m, the sun's angles and the mean view angles."""
    toa = {}
    for band in BANDS:
        numbers = read_band(scene_folder(), band).astype("f4") / np.float32(10000)
        if PIXEL_SIZE[band] == 60:
            numbers = numbers.repeat(3, 0).repeat(3, 1)
        toa[band] = halved(numbers) if PIXEL_SIZE[band] == 10 else numbers
    return toa, {"sun_zenith": 61.7, "sun_azimuth": 160.8, "view_zenith": 6.6, "view_azimuth": 285}


def patch(path):
    """Return the reflectance of a patch at 20 m, the sun's angles, the elevation and the operational classes."""
    data = np.load(path)
    toa = {str(b): halved(np.nan_to_num(values[:100])) for b, values in zip(data["bands"], data["toa"], strict=True)}
    angles = {name: float(data[name]) for name in ("sun_zenith", "sun_azimuth")}
    return toa, angles, halved(data["dem"][:100]), data["scl"][:100:2, ::2] if "scl" in data else None


def halved(image):
    rows, columns = image.shape
    return image.reshape(rows // 2, 2, columns // 2, 2).mean((1, 3)).astype("f4")


def compare_clouds(title, toa, opacity, height, sun, view, path):
    """Print how much of simulated clouds and shadows is found, and what else is called so; draw the classes."""
    image, cloud, shadow, clear = with_clouds(toa, opacity, height, sun, view)
    # Water shows no shadow.
    shadow &= toa["B8A"] > 0.15
    sys.stdout.write(f"\n{title}\n{'%':24}   cloud found  false  shadow found  false\n")
    classes, angles = {}, {"view_zenith": view[0], "view_azimuth": view[1]}
    for name, options in MODES.items():
        scl, *_ = classify_scene(image, 20, *sun, **options, **view_of(angles, options))
        found = np.isin(scl, CLOUDS)
        row = share(found, cloud), share(found, clear), share(scl == SHADOW, shadow), share(scl == SHADOW, clear)
        sys.stdout.write("{:24}{:14.1f}{:7.2f}{:14.1f}{:7.2f}\n".format(name, *row))
        classes[name] = scl
    picture(path, image, {name: classes[name] for name in ("classic", "improved")})


def view_of(angles, options):
    return {k: v for k, v in angles.items() if k.startswith("view")} if options["mode"] == "improved" else {}


def share(condition, valid):
    return 100 * np.count_nonzero(condition & valid) / max(np.count_nonzero(valid), 1)


def figures(scl, cloud, expected):
    """Return the text of one row: shares of the valid pixels (percent), and agreement with the classes expected."""
    valid = scl != 0
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


def compare(title, toa, angles, expected=None, **maps):
    """Print the rows of one scene and return the classes of the first two."""
    head = "".join(f"{h:>8}" for h in ("cloud", "shadow", "dark", "veg.", "bare", "water", "uncl.", "snow", "CLD!"))
    agree = "" if expected is None else "     agree  of each class of the product (%)"
    sys.stdout.write(f"\n{title}\n{'% of valid pixels':24}{head}{agree}\n")
    results = []
    for name, options in MODES.items():
        only = view_of(angles, options)
        scl, cloud, _ = classify_scene(toa, 20, *list(angles.values())[:2], **options, **only, **maps)
        sys.stdout.write(f"{name:24}{figures(scl, cloud, expected)}\n")
        results.append(scl)
    return results[:2]


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


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.write("CLD!: pixels whose cloud probability disagrees with their class\n")
    toa, angles = demo()
    classic, improved = compare("T18SVG 2016-01-12, free of cloud", toa, angles)
    no_b08 = {band: image for band, image in toa.items() if band != "B08"}
    compare("T18SVG without B08, so without parallax", no_b08, angles)
    picture(folder / "T18SVG.png", toa, {"classic": classic, "improved": improved})
    view, shape = (angles["view_zenith"], angles["view_azimuth"]), toa["B02"].shape
    for number, (cover, size, height, sun) in enumerate(RANDOM):
        title = f"T18SVG under random clouds at {height} m, size {size} px, cover {100 * cover:.0f} %, sun {sun}"
        opacity = random_clouds(shape, cover, size, number)
        compare_clouds(title, toa, opacity, height, sun, view, folder / f"T18SVG_random_{height}m.png")
    for row, column, height, sun in REAL if (SHARED / "data").exists() else ():
        title = f"T18SVG under the clouds of T31TCJ, row {row}, column {column}, put at {height} m, sun {sun}"
        opacity = real_clouds(shape, row, column)
        compare_clouds(title, toa, opacity, height, sun, view, folder / f"T18SVG_T31TCJ_{height}m.png")
    for path in sorted((SHARED / "data" / "slovenia_patches").glob("*.npz")):
        toa, angles, elevation, product = patch(path)
        # The patches have no slopes; without these the rules of hillshade are void.
        flat = {"slope": np.zeros_like(elevation), "hillshade": np.full(elevation.shape, 255, "u1")}
        classic, improved = compare(f"Slovenia {path.stem}", toa, angles, product, dem=elevation, **flat)
        classes = {"classic": classic, "improved": improved} | ({} if product is None else {"product": product})
        picture(folder / f"{path.stem}.png", toa, classes)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
