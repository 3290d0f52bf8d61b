"""Names and identifiers of the Level-2A product, made from those of the Level-1C product.

Only regular expressions, so that the workflow can import it at no cost.
"""

import re

from steps.core.errors import StepError
from steps.sentinel2.bands import OUTPUT_BANDS
from steps.sentinel2.satellites import CODE

#: Our own processing baseline: above 04.00, so that software which decides by the number applies the offset.
BASELINE = "99.01"
#: Four characters that stand for the processing centre in identifiers.
CENTRE = "S2FL"

_PRODUCT = re.compile(rf"({CODE})_MSIL1C_(\d{{8}}T\d{{6}})_(?:N\d{{4}}_)?(R\d{{3}})_(T\w{{5}})_(\d{{8}}T\d{{6}})")
_COMPACT = re.compile(
    rf"(?P<satellite>{CODE})_MSIL1C_(?P<datatake>\d{{8}}T\d{{6}})_N(?P<baseline>\d{{4}})_R(?P<relative_orbit>\d{{3}})"
    r"_(?P<tile>T\d\d[A-Z]{3})_(?P<discriminator>\d{8}T\d{6})",
    re.ASCII,
)
_IDENTIFIER = re.compile(
    rf"({CODE})_[A-Z]{{4}}_MSI_L1C_(TL|DS)_\w{{4}}_(\d{{8}}T\d{{6}})_(A\d{{6}}_T\w{{5}}|S\d{{8}}T\d{{6}})_N\d\d\.\d\d"
)


def _product(l1c_product: str) -> re.Match:
    match = _PRODUCT.fullmatch(l1c_product)
    if not match:
        raise StepError(
            f"{l1c_product}: not the name of an L1C product (S2A_MSIL1C_<date>_N<baseline>_R<orbit>_T<tile>_<date>); "
            "give the product its own name again"
        )
    return match


def product_parts(l1c_product: str) -> dict[str, str] | None:
    """Return the parts of a Level-1C product's name in the compact format, None of any other text.

    They are `satellite`, `datatake` and `discriminator` (times), `baseline`, `relative_orbit` (digits) and `tile`.
    """
    found = _COMPACT.fullmatch(l1c_product)
    return found and found.groupdict()


def l2a_name(l1c_product: str) -> str:
    """Return the name (without `.SAFE`) of the L2A product of an L1C product, given without `.SAFE`.

    The discriminator is the L1C product's, so that the same input always gives the same name.

    Raises
    ------
    StepError
        If it is not the name of an L1C product in the compact format.
    """
    satellite, datatake, orbit, tile, discriminator = _product(l1c_product).groups()
    return f"{satellite}_MSIL2A_{datatake}_N{BASELINE.replace('.', '')}_{orbit}_{tile}_{discriminator}"


def image_prefix(l1c_product: str) -> str:
    """Return what the image files of a product begin with: `T31TCJ_20240120T105341`."""
    _, datatake, _, tile, _ = _product(l1c_product).groups()
    return f"{tile}_{datatake}"


def layers(resolution: int) -> tuple[str, ...]:
    """Return the image layers of one resolution, in the order of the product metadata."""
    return OUTPUT_BANDS[resolution] + ("TCI", "AOT", "WVP") + (() if resolution == 10 else ("SCL",))


def probability_masks(resolution: int) -> tuple[str, ...]:
    """Return the names of the cloud and snow probability files of one resolution."""
    return () if resolution == 10 else (f"MSK_CLDPRB_{resolution}m.jp2", f"MSK_SNWPRB_{resolution}m.jp2")


def l2a_identifier(l1c_identifier: str) -> str:
    """Return the tile or datastrip identifier of the L2A product: class USER, our centre and baseline.

    Raises
    ------
    StepError
        If it is not the identifier of an L1C tile or datastrip.
    """
    match = _IDENTIFIER.fullmatch(l1c_identifier)
    if not match:
        raise StepError(f"{l1c_identifier}: not the identifier of an L1C tile or datastrip; get the product anew")
    satellite, kind, created, rest = match.groups()
    return f"{satellite}_USER_MSI_L2A_{kind}_{CENTRE}_{created}_{rest}_N{BASELINE}"


def datastrip_folder(l2a_datastrip: str) -> str:
    """Return the folder of a datastrip identifier: `DS_S2FL_20240120T125244_S20240120T105433`."""
    return "DS_" + l2a_datastrip.partition("_DS_")[2].rpartition("_")[0]
