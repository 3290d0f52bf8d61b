"""XML documents of a SAFE, made from what an EOPF Zarr says of itself.

Spellings differ between the samples of EOPF's service and EOPF-CPM (2.8 and newer); both are read. What a Zarr does not
tell, as the names of calibration files, its documents lack.
"""

from collections.abc import Mapping

from lxml import etree

from steps.core.errors import StepError
from steps.l1c.documents import element
from steps.l1c.eopf_angles import angles
from steps.l1c.eopf_metadata import Names, Told, corner, image_path, shortest
from steps.l1c.eopf_store import Store
from steps.l1c.files import AGAIN
from steps.sentinel2.bands import BANDS, PIXEL_SIZE
from steps.sentinel2.baselines import FIRST_WITH_OFFSET

#: Specification that each document follows, by the first baseline that does.
_SPECIFICATIONS = (("05.11", 15), ("00.00", 14))
#: Offset of numbers, where they have one, and their scale.
_OFFSET = -0.1
_SCALE = 1e-4


def _root(document: str, name: str, baseline: str) -> etree._Element:
    number = next(number for first, number in _SPECIFICATIONS if baseline >= first)
    space = f"https://psd-{number}.sentinel2.eo.esa.int/PSD/{document}.xsd"
    return etree.Element(f"{{{space}}}{name}", nsmap={"n1": space})


def _section(root: etree._Element, name: str, *children: etree._Element) -> None:
    etree.SubElement(root, f"{{{etree.QName(root).namespace}}}{name}").extend(children)


def _each(name: str, values: Mapping[str, str], key: str = "bandId", **attributes: str) -> list[etree._Element]:
    """Return an element of each band."""
    ids = {band: {key: str(index)} for index, band in enumerate(BANDS)}
    return [element(name, value, **ids[band], **attributes) for band, value in values.items()]


def product(source: Store, names: Names) -> etree._Element:
    """Return the root of `MTD_MSIL1C.xml`; raise `StepError` if something is missing or no number."""
    told, baseline = Told(source), _baseline(source, names)
    root = _root("User_Product_Level-1C", "Level-1C_User_Product", baseline)
    _section(root, "General_Info", _product_info(told, names, baseline), _characteristics(source, told, baseline))
    outline = (told.discovery.get("geometry") or {}).get("coordinates") or [[]]
    corners = " ".join(f"{point[1]!r} {point[0]!r}" for point in outline[0])
    footprint = element("Global_Footprint", [element("EXT_POS_LIST", corners)])
    _section(root, "Geometric_Info", element("Product_Footprint", [element("Product_Footprint", [footprint])]))
    _section(root, "Auxiliary_Data_Info")
    checks = element("Quality_Control_Checks", [element("Quality_Inspections")])
    cloudy = element("Cloud_Coverage_Assessment", shortest(told.number("eo:cloud_cover", default=0.0)))
    _section(root, "Quality_Indicators_Info", cloudy, checks)
    return root


def _baseline(source: Store, names: Names) -> str:
    name = names.product.split("_")[3]
    return Told(source).text("processing:version", "eopf:baseline", default=f"{name[1:3]}.{name[3:]}")


def _product_info(told: Told, names: Names, baseline: str) -> etree._Element:
    platform = told.text("platform")
    start = told.time("start_datetime")
    relative = told.number("sat:relative_orbit")
    datatake = [
        element("SPACECRAFT_NAME", f"Sentinel-{platform.rpartition('-')[2].upper()}"),
        element("DATATAKE_SENSING_START", start),
        element("SENSING_ORBIT_NUMBER", shortest(relative)),
        element("SENSING_ORBIT_DIRECTION", told.text("sat:orbit_state").upper()),
    ]
    if mode := told.text("eopf:instrument_mode", default=""):
        datatake.insert(1, element("DATATAKE_TYPE", mode))
    images = [element("IMAGE_FILE", names.image(band).removesuffix(".jp2")) for band in BANDS]
    granule = element(
        "Granule",
        images,
        datastripIdentifier=names.datastrip,
        granuleIdentifier=names.tile,
        imageFormat="JPEG2000",
    )
    identifier = told.text("eopf:datatake_id", "eopf:data_take_id")
    return element(
        "Product_Info",
        [
            element("PRODUCT_START_TIME", start),
            element("PRODUCT_STOP_TIME", told.time("end_datetime")),
            element("PRODUCT_URI", f"{names.product}.SAFE"),
            element("PROCESSING_LEVEL", "Level-1C"),
            element("PRODUCT_TYPE", "S2MSI1C"),
            element("PROCESSING_BASELINE", baseline),
            element("GENERATION_TIME", told.time("created")),
            element("Datatake", datatake, datatakeIdentifier=identifier),
            element("Product_Organisation", [element("Granule_List", [granule])]),
        ],
    )


def _characteristics(source: Store, told: Told, baseline: str) -> etree._Element:
    special = [
        element("Special_Values", [element("SPECIAL_VALUE_TEXT", text), element("SPECIAL_VALUE_INDEX", str(value))])
        for text, value in (("NODATA", _no_data(source)), ("SATURATED", 65535))
    ]
    order = zip(("RED", "GREEN", "BLUE"), (3, 2, 1), strict=True)
    display = [element(f"{colour}_CHANNEL", str(band)) for colour, band in order]
    scale, offsets = _scale(source), {band: _offset(source, band, baseline) for band in BANDS}
    about = {band: told.of_band(band) for band in BANDS}
    irradiances = _each(
        "SOLAR_IRRADIANCE",
        {
            b: shortest(told.as_number("solar_illumination", a["solar_illumination"]))
            for b, a in about.items()
            if "solar_illumination" in a
        },
        unit="W/m²/µm",
    )
    distance = "reflectance_correction_factor_from_the_sun_earth_distance_variation"
    factor = told.number(f"{distance}_computed_using_the_acquisition_date")
    gains = {b: str(a["physical_gain"]) for b, a in about.items() if "physical_gain" in a}
    parts = [
        *special,
        element("Image_Display_Order", display),
        element("QUANTIFICATION_VALUE", shortest(round(1 / scale, 6)), unit="none"),
        element(
            "Reflectance_Conversion",
            [element("U", shortest(factor)), element("Solar_Irradiance_List", irradiances)],
        ),
        element("Spectral_Information_List", [_spectrum(i, b, about[b]) for i, b in enumerate(BANDS)]),
        *_each("PHYSICAL_GAINS", gains),
    ]
    if any(offsets.values()):
        values = {band: shortest(round(offset / scale, 6)) for band, offset in offsets.items()}
        parts.insert(4, element("Radiometric_Offset_List", _each("RADIO_ADD_OFFSET", values, "band_id")))
    return element("Product_Image_Characteristics", parts)


def _spectrum(index: int, band: str, about: dict) -> etree._Element:
    wavelengths = [
        element(name, shortest(float(about[key])), unit="nm")
        for name, key in (("MIN", "wavelength_min"), ("MAX", "wavelength_max"), ("CENTRAL", "central_wavelength"))
        if key in about
    ]
    values = about.get("spectral_response_values", "")
    values = values if isinstance(values, str) else " ".join(map(str, values))
    response = [element("STEP", str(about.get("spectral_response_step", "")), unit="nm"), element("VALUES", values)]
    parts = [
        element("RESOLUTION", str(PIXEL_SIZE[band])),
        element("Wavelength", wavelengths),
        element("Spectral_Response", response),
    ]
    return element("Spectral_Information", parts, bandId=str(index), physicalBand=band.replace("B0", "B"))


def _no_data(source: Store) -> int:
    """Return the number of no data; raise `StepError` if bands differ in it or have none."""
    found = {}
    for band in BANDS:
        path = image_path(band)
        given = [source.attributes(path).get("fill_value"), (source.array(path) or {}).get("fill_value")]
        values = {value for value in given if value is not None}
        whole = [value for value in values if isinstance(value, int | float) and value == round(value)]
        if len(values) != 1 or not whole:
            words = (
                f"its fill value is {' and '.join(map(str, values)) or 'not told':.40}, and one whole number is needed"
            )
            raise StepError(f"{source.path / path}: {words}; {AGAIN}")
        found[int(whole[0])] = path
    if len(found) > 1:
        words = ", ".join(f"{value} in {path}" for value, path in sorted(found.items()))
        raise StepError(f"{source.path}: bands differ in their fill value ({words:.200}); {AGAIN}")
    return next(iter(found))


def _scale(source: Store) -> float:
    found = {_attribute(source, band, "scale_factor", _SCALE) for band in BANDS}
    if len(found) > 1 or min(found) <= 0:
        raise StepError(f"{source.path}: bands have the scale factors {sorted(found)!s:.80}; {AGAIN}")
    return found.pop()


def _offset(source: Store, band: str, baseline: str) -> float:
    return _attribute(source, band, "add_offset", _OFFSET if baseline >= FIRST_WITH_OFFSET else 0.0)


def _attribute(source: Store, band: str, name: str, default: float) -> float:
    value = source.attributes(image_path(band)).get(name, default)
    if not isinstance(value, int | float):
        raise StepError(f"{source.path / image_path(band)}: {name} is '{value!s:.40}', which is no number; {AGAIN}")
    return float(value)


def tile(source: Store, names: Names) -> etree._Element:
    """Return the root of `MTD_TL.xml`; raise `StepError` if something is missing or has another shape."""
    told = Told(source)
    root = _root("S2_PDI_Level-1C_Tile_Metadata", "Level-1C_Tile_ID", _baseline(source, names))
    _section(
        root,
        "General_Info",
        element("TILE_ID", names.tile, metadataLevel="Brief"),
        element("DATASTRIP_ID", names.datastrip, metadataLevel="Standard"),
        element("SENSING_TIME", told.time("mean_sensing_time"), metadataLevel="Standard"),
    )
    _section(root, "Geometric_Info", _geocoding(source, told), angles(source, told))
    content = [
        element("CLOUDY_PIXEL_PERCENTAGE", shortest(told.number("eo:cloud_cover", default=0.0))),
        element("DEGRADED_MSI_DATA_PERCENTAGE", shortest(told.number("percentage_of_degraded_MSI_data", default=0.0))),
    ]
    masks = [
        element("MASK_FILENAME", names.mask(kind, band), type=kind, bandId=str(index))
        for kind in ("MSK_DETFOO", "MSK_QUALIT")
        for index, band in enumerate(BANDS)
    ]
    classes = element("MASK_FILENAME", names.mask("MSK_CLASSI", "B00"), type="MSK_CLASSI")
    _section(
        root,
        "Quality_Indicators_Info",
        element("Image_Content_QI", content, metadataLevel="Standard"),
        element("Pixel_Level_QI", [classes, *masks], geometry="FULL_RESOLUTION"),
    )
    return root


def _geocoding(source: Store, told: Told) -> etree._Element:
    code = told.text("horizontal_CRS_code", "proj:code", "proj:epsg")
    sizes, places = [], []
    for band in ("B02", "B05", "B01"):
        path, resolution = image_path(band), PIXEL_SIZE[band]
        shape = (source.array(path) or {}).get("shape", [])
        if len(shape) != 2:
            words = f"its shape is {shape!s:.60}, and rows and columns are needed"
            raise StepError(f"{source.path / path}: {words}; {AGAIN}")
        if (place := corner(source, path)) is None:
            raise StepError(f"{source.path / path}: has neither proj:transform, x and y, nor proj:bbox; {AGAIN}")
        left, top, size = place
        pixels = {"NROWS": shape[0], "NCOLS": shape[1]}
        sizes.append(element("Size", [element(k, str(v)) for k, v in pixels.items()], resolution=str(resolution)))
        corner_and_step = {"ULX": left, "ULY": top, "XDIM": size, "YDIM": -size}
        place_parts = [element(k, shortest(v)) for k, v in corner_and_step.items()]
        places.append(element("Geoposition", place_parts, resolution=str(resolution)))
    number = code.upper().removeprefix("EPSG:")
    name = told.text("horizontal_CRS_name", default=f"EPSG:{number}")
    head = [element("HORIZONTAL_CS_NAME", name), element("HORIZONTAL_CS_CODE", f"EPSG:{number}")]
    return element("Tile_Geocoding", [*head, *sizes, *places], metadataLevel="Brief")
