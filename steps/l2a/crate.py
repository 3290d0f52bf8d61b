"""Provenance of a product as an RO-Crate: what it was made from, with what, and how it was set."""

import hashlib
import json
import mimetypes
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from steps import __version__

#: RO-Crate Metadata Specification 1.1.
_SPECIFICATION = "https://w3id.org/ro/crate/1.1"
#: Process Run Crate 0.5.
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_LICENCE = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
#: Entities that every crate has: what describes it, and what others refer to.
_DESCRIPTOR = {
    "@id": "ro-crate-metadata.json",
    "@type": "CreativeWork",
    "conformsTo": {"@id": _SPECIFICATION},
    "about": {"@id": "./"},
}
_CONTEXT = (
    {"@id": _LICENCE, "@type": "CreativeWork", "name": "Legal notice on the use of Copernicus Sentinel data"},
    {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
    {"@id": "#operator", "@type": "Person", "name": "Operator of Sen2Flow"},
)
#: Packages that results depend on.
_PACKAGES = ("snakemake", "numpy", "scipy", "numba", "rasterio", "lxml", "pandas", "joblib", "zarr", "pystac")
#: Where what is not from PyPI is at home.
_HOMES = {"Python": "https://www.python.org", "GDAL": "https://gdal.org"}
#: Where in a product's folder the files lie that the crate names; logs change whenever something is run again.
_PARTS = ("cog/*", "quicklook/*", "report/*")


@dataclass(frozen=True)
class Source:
    """Name a file or a product that results were made from.

    Attributes
    ----------
    name
        Its name, without a path.
    sha256
        Of the file, hexadecimal; "" where it could not be read.
    note
        What the digest is of, if not of the file itself.
    """

    name: str
    sha256: str
    note: str = ""


def versions() -> dict[str, str]:
    """Return the versions of all software that results depend on, by name."""
    import rasterio

    found = {"Sen2Flow": __version__, "Python": platform.python_version(), "GDAL": rasterio.__gdal_version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # Snakemake, where another environment runs the stages
            continue
    return found


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal; "" if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def settings_of(configuration: Mapping, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and value of each setting, names of sections before a dot, values as in JSON."""
    for key, value in configuration.items():
        if isinstance(value, Mapping):
            yield from settings_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


def crate(
    folder: Path,
    name: str,
    now: str,
    sources: Sequence[Source],
    software: Mapping[str, str],
    configuration: Mapping,
) -> dict:
    """Return the document `ro-crate-metadata.json` of a product.

    Parameters
    ----------
    folder
        Of the product, the root of the crate.
    name
        Of the Level-2A product.
    now
        When the product was complete, ISO 8601.
    sources
        What it was made from: the Level-1C product first, then tables and other files.
    software
        Versions by name, as of `versions`.
    configuration
        The settings.
    """
    parts = [_part(folder, path) for pattern in _PARTS for path in sorted(folder.glob(pattern)) if path.is_file()]
    inputs = [_source(number, source) for number, source in enumerate(sources)]
    programs = [_program(label, version) for label, version in software.items()]
    main, *others = programs
    main["softwareRequirements"] = [_to(one) for one in others]
    values = [
        {"@id": f"#setting-{key}", "@type": "PropertyValue", "name": key, "value": value}
        for key, value in settings_of(configuration)
    ]
    action = {
        "@id": "#processing",
        "@type": "CreateAction",
        "name": "Level-1C to Level-2A",
        "description": f"Surface reflectance and scene classification from {sources[0].name}",
        "endTime": now,
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "instrument": _to(main),
        "agent": {"@id": "#operator"},
        "object": [_to(one) for one in (*inputs, *values)],
        "result": [_to(one) for one in parts],
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": name,
        "description": f"Sentinel-2 Level-2A product, made by Sen2Flow {__version__} from {sources[0].name}.",
        "datePublished": now,
        "license": {"@id": _LICENCE},
        "conformsTo": {"@id": _PROFILE},
        "hasPart": [_to(one) for one in parts],
        "mentions": _to(action),
    }

    graph = [_DESCRIPTOR, root, *_CONTEXT, *parts, *inputs, *programs, *values, action]
    terms = {"sha256": "https://schema.org/sha256"}
    return {"@context": [f"{_SPECIFICATION}/context", terms], "@graph": graph}


def _to(entity: Mapping) -> dict[str, str]:
    return {"@id": entity["@id"]}


def _part(folder: Path, path: Path) -> dict:
    kind = "image/tiff" if path.suffix == ".tif" else mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {
        "@id": path.relative_to(folder).as_posix(),
        "@type": "File",
        "name": path.name,
        "encodingFormat": kind,
        "contentSize": str(path.stat().st_size),
    }


def _program(name: str, version: str) -> dict:
    home = _HOMES.get(name, f"https://pypi.org/project/{name.lower()}")
    return {
        "@id": f"{home}#{version}",
        "@type": "SoftwareApplication",
        "name": name,
        "softwareVersion": version,
        "url": home,
    }


def _source(number: int, source: Source) -> dict:
    entity = {"@id": f"#input-{number}", "@type": "CreativeWork", "name": source.name, "identifier": source.name}
    if source.sha256:
        entity["sha256"] = source.sha256
    if source.note:
        entity["description"] = source.note
    return entity
