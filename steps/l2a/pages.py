"""Pages for people: the report of a product and the index of a run, as HTML that needs no other host.

Nothing heavy is imported: the workflow itself writes the index when a run ends.
"""

import functools
import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps import __version__
from steps.l2a.run_summary import Row

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
#: Where in a product's folder the page and the small picture are.
REPORT = "report/report.html"
THUMBNAIL = "report/thumbnail.jpg"
#: Spacings of the lines of a map, degrees.
_SPACINGS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
#: Columns of the index, and whether they hold numbers.
_COLUMNS = (
    ("product", False),
    ("status", False),
    ("clouds, %", True),
    ("AOT", True),
    ("water vapour, g/cm²", True),
    ("seconds", True),
    ("CPU seconds", True),
    ("MB", True),
)
#: Largest width and height of the map, in units of its SVG.
_WIDTH = 720
_HEIGHT = 420


@functools.cache
def _environment() -> "jinja2.Environment":
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def render(template: str, **context: Any) -> str:
    """Return a page from one of the templates."""
    return _environment().get_template(template).render(version=__version__, **context) + "\n"


def index_page(rows: Iterable[Row], folder: Path, title: str) -> str:
    """Return the page of a run: a row a product, with a map of where they are.

    Parameters
    ----------
    rows
        What became of each product.
    folder
        Of all products, where the page will lie.
    title
        Of the page.
    """
    found = list(rows)
    products = [_product(row, folder) for row in found]
    counts = {status: sum(row.status == status for row in found) for status in dict.fromkeys(r.status for r in found)}
    return render("index.html", title=title, products=products, counts=counts, columns=_COLUMNS, map=_map(products))


def _product(row: Row, folder: Path) -> dict[str, Any]:
    paths = {name: f"{row.product}/{path}" for name, path in (("report", REPORT), ("thumbnail", THUMBNAIL))}
    links = {name: path for name, path in paths.items() if row.status == "done" and (folder / path).exists()}
    box = None
    with suppress(OSError, ValueError, KeyError, TypeError):
        box = json.loads(Path(row.quality).read_bytes())["bbox"] if row.quality else None
    return {"row": row, "links": links, "box": box}


def _map(products: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the boxes of the products and lines of longitude and latitude around them in the units of an SVG."""
    boxes = [(one, _unwrapped(one["box"])) for one in products if one["box"]]
    if not boxes:
        return None
    west, south = (min(box[i] for _, box in boxes) for i in (0, 1))
    east, north = (max(box[i] for _, box in boxes) for i in (2, 3))
    margin = 0.15 * max(east - west, north - south, 0.1)
    west, east, south, north = west - margin, east + margin, max(south - margin, -90), min(north + margin, 90)
    # A degree of longitude is shorter by the cosine of the latitude.
    shorter = math.cos(math.radians((south + north) / 2))
    scale = min(_WIDTH / ((east - west) * shorter), _HEIGHT / (north - south))

    def x(longitude: float) -> float:
        return round((longitude - west) * shorter * scale, 1)

    def y(latitude: float) -> float:
        return round((north - latitude) * scale, 1)

    spacing = next((s for s in _SPACINGS if (east - west) / s <= 8 and (north - south) / s <= 8), 60)
    meridians = [n * spacing for n in range(math.ceil(west / spacing), math.floor(east / spacing) + 1)]
    parallels = [n * spacing for n in range(math.ceil(south / spacing), math.floor(north / spacing) + 1)]
    return {
        "width": x(east),
        "height": y(south),
        "meridians": [(x(value), _degrees((value + 180) % 360 - 180, "EW")) for value in meridians],
        "parallels": [(y(value), _degrees(value, "NS")) for value in parallels],
        "boxes": [(one, x(box[0]), y(box[3]), x(box[2]) - x(box[0]), y(box[1]) - y(box[3])) for one, box in boxes],
    }


def _unwrapped(box: Sequence[float]) -> tuple[float, float, float, float]:
    """Return a box whose east is beyond 180 degrees where it crosses that meridian."""
    west, south, east, north = box
    return west, south, east + 360 if east < west else east, north


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):.4g}°{letters[value < 0] if value else ''}"
