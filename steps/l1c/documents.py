"""Documents of a product, XML and JSON: parsed without side effects, and what is wrong is named with its file."""

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from lxml import etree

from steps.core.errors import StepError
from steps.l1c.files import AGAIN
from steps.sentinel2.bands import BANDS

#: Bytes that no file of metadata reaches; those of real products have a few hundred thousand.
_LARGEST = 50e6
#: Namespace of a document: the number of its product specification, and the name of its schema.
_NAMESPACE = re.compile(r"https://psd-(\d+)(?:\.\d+)?\.sentinel2\.eo\.esa\.int/PSD/([\w-]+\.xsd)", re.ASCII)


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises
    ------
    StepError
        If the file cannot be read, is far too large, or holds something else.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is far too large")
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise StepError(f"{path}: cannot be read ({error!s:.200}); {AGAIN}") from error
    return document


def parse(content: bytes, label: str) -> etree._Element:
    """Parse a document and return its root, without comments, processing instructions and blank text.

    A comment would cut the text of its element in two. No product has a document type declaration; with none there
    are no entities, so that nothing is expanded and nothing is fetched.

    Parameters
    ----------
    content
        The file, in any encoding that it declares.
    label
        How the file is called in messages.

    Raises
    ------
    StepError
        If it is broken, has a document type declaration, or is nested deeper or has longer texts than any product's.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        remove_blank_text=True,
    )
    try:
        root = etree.fromstring(content, parser, base_url=label.encode(errors="backslashreplace"))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise StepError(f"{label}: is not valid XML ({error}); {AGAIN}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise StepError(f"{label}: has a document type declaration, which no product has; {AGAIN}")
    return root


def schema(root: etree._Element) -> tuple[int, str]:
    """Return the number of the product specification that a document follows, and the name of its schema.

    Raises
    ------
    StepError
        If the namespace of the root element is not of a Sentinel-2 product specification.
    """
    namespace = etree.QName(root).namespace or ""
    if not (found := _NAMESPACE.fullmatch(namespace)):
        file = root.getroottree().docinfo.URL
        raise StepError(f"{file}: its namespace is '{namespace[:80]}', which is none of Sentinel-2's; {AGAIN}")
    return int(found[1]), found[2]


def element(name: str, content: str | Iterable[etree._Element] = "", /, **attributes: str) -> etree._Element:
    """Make an element with a text or with children."""
    result = etree.Element(name, attributes)
    if isinstance(content, str):
        result.text = content
    else:
        result.extend(content)
    return result


class Xml:
    """An XML file of the product, which says which file and element is meant when one is missing or broken."""

    def __init__(self, root: etree._Element, label: str):
        self.root, self.label = root, label

    def wrong(self, what: str) -> StepError:
        """Return the error that says what is wrong in the file."""
        return StepError(f"{self.label}: {what}; {AGAIN}")

    def text(self, path: str, element: etree._Element | None = None) -> str:
        """Return the text of the element at a path; where there are several they have to agree.

        Raises
        ------
        StepError
            If there is none, or they differ.
        """
        found = (self.root if element is None else element).iterfind(path)
        texts = {(item.text or "").strip() for item in found} - {""}
        if len(texts) != 1:
            raise self.wrong(f"has {'several different' if texts else 'no'} {_name(path)}")
        return texts.pop()

    def number(self, path: str, element: etree._Element | None = None, *, finite: bool = True) -> float:
        """Return the number in the element at a path.

        Raises
        ------
        StepError
            If there is none, or it is no number, or it has to be finite and is not.
        """
        text = self.text(path, element)
        what = path if element is None or path != "." else etree.QName(element).localname
        value = self.parse(float, text, what)
        if finite and not math.isfinite(value):
            raise self.wrong(f"{_name(what)} is '{text[:40]}', which is no number")
        return value

    def whole(self, path: str, element: etree._Element | None = None) -> int:
        """Return the whole number in the element at a path.

        Raises
        ------
        StepError
            If there is none, or it is no whole number.
        """
        value = self.number(path, element)
        if value != round(value):
            raise self.wrong(f"{_name(path)} is {value:g}, which is no whole number")
        return int(value)

    def parse(self, kind: Callable, text: str, what: str):
        """Return `kind(text)`; `what` is told in the message if that raises."""
        try:
            if not text.isascii() or "_" in text:  # which Python reads as numbers, too
                raise ValueError(text)
            return kind(text)
        except ValueError as error:
            raise self.wrong(f"{_name(what)} is '{text[:40]}', which is no number") from error

    def section(self, path: str) -> etree._Element:
        """Return the only element at a path.

        Raises
        ------
        StepError
            If there is none, or more than one.
        """
        if len(found := self.root.findall(path)) != 1:
            raise self.wrong(f"has {len(found) or 'no'} {_name(path)}")
        return found[0]

    def by_band(self, path: str, key: str) -> dict[str, etree._Element]:
        """Return the elements at a path by the band that their attribute `key` tells; one for each band at most.

        Raises
        ------
        StepError
            If one tells no band, or two tell the same.
        """
        found = {}
        for element in self.root.iterfind(path):
            band = self.band(element, key)
            if band in found:
                raise self.wrong(f"{_name(path)} of {band} is given twice")
            found[band] = element
        return found

    def band(self, element: etree._Element, key: str) -> str:
        """Return the band that an element's attribute `key` tells.

        Raises
        ------
        StepError
            If it tells none.
        """
        index = self.parse(int, element.get(key, ""), key)
        if not 0 <= index < len(BANDS):
            raise self.wrong(f"{key} {index} is no band of Sentinel-2")
        return BANDS[index]


def _name(path: str) -> str:
    return path.replace(".//", "").replace("{*}", "")
