"""Products in a tar, in the format with many granules, and in the layout of the AWS bucket, against the same SAFE."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from l1c_products import CONSTANT_VIEWS, DATASTRIP_ID, GRANULE, PIXEL, TILE_ID, renew_manifest, write_product

from steps import import_l1c
from steps.core.errors import StepError
from steps.core.rasters import read
from steps.l1c.formats import open_product, product_name, products_in
from steps.l1c.metadata import read_l1c
from steps.sentinel2.kinds import MASK, TOA
from steps.workflow import l1c_products

SHARED = Path(__file__).resolve().parents[2] / "shared"
#: The compact name ends with the start of the datastrip, which the other layouts name a product by.
NAME = "S2A_MSIL1C_20240120T105341_N0204_R051_T31TCJ_20240120T105433"


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    """A product of the time of the other layouts: masks that are polygons, no offset."""
    return write_product(tmp_path_factory.mktemp("l1c"), masks="gml", views=CONSTANT_VIEWS, offset=0, name=NAME)


def as_many_granules(safe, folder):
    """Write a product as one of two granules in the old format, the other one of another tile; return its folder."""
    product = folder / "S2A_OPER_PRD_MSIL1C_PDMC_20240120T134415_R051_V20240120T105341_20240120T105341.SAFE"
    for tile in ("T31TCJ", "T31TDJ"):
        tile_id, rest = TILE_ID.replace("T31TCJ", tile), TILE_ID[16:-7].replace("T31TCJ", tile)
        granule = product / "GRANULE" / tile_id
        for kind in ("IMG_DATA", "QI_DATA", "AUX_DATA"):
            (granule / kind).mkdir(parents=True)
            for path in (safe / GRANULE / kind).iterdir():
                if kind == "IMG_DATA":
                    name = f"S2A_OPER_MSI_L1C{rest}_{path.stem[-3:]}.jp2"
                elif kind == "QI_DATA":
                    _, mask, band = path.stem.split("_")
                    name = f"S2A_OPER_MSK_{mask}{rest[3:]}_{band}_MSIL1C.gml"
                else:
                    name = f"S2A_OPER_{path.name}_2APS_20240120T125244_V20240120T105433"
                shutil.copy(path, granule / kind / name)
        text = (safe / GRANULE / "MTD_TL.xml").read_text().replace("psd-14", "psd-12").replace("T31TCJ", tile)
        for band in PIXEL:
            for mask in ("DEFECT", "DETFOO", "NODATA", "SATURA", "TECQUA"):
                old = f"{GRANULE}/QI_DATA/MSK_{mask}_{band}.gml".replace("T31TCJ", tile)
                text = text.replace(old, f"S2A_OPER_MSK_{mask}{rest[3:]}_{band}_MSIL1C.gml")
        (granule / f"S2A_OPER_MTD_L1C{rest}.xml").write_text(text)
    text = (safe / "MTD_MSIL1C.xml").read_text().replace("psd-14", "psd-12")
    before, _, text = text.partition("<Granule_List>")
    images = "".join(f"<IMAGE_ID>S2A_OPER_MSI_L1C_TL_{band}</IMAGE_ID>" for band in PIXEL)
    lists = "".join(
        f'<Granule_List><Granules datastripIdentifier="{DATASTRIP_ID}" granuleIdentifier='
        f'"{TILE_ID.replace("T31TCJ", tile)}">{images}</Granules></Granule_List>'
        for tile in ("T31TCJ", "T31TDJ")
    )
    text = before.replace(NAME, product.stem) + lists + text.partition("</Granule_List>")[2]
    (product / "S2A_OPER_MTD_SAFL1C_PDMC_20240120T134415_R051_V20240120T105341_20240120T105341.xml").write_text(text)
    return renew_manifest(product, "MD5")


def as_aws(safe, bucket, *, metadata=True):
    """Write a product into a copy of the bucket, with its own metadata or without; return the tile's folder."""
    tile, product = bucket / "tiles/31/T/CJ/2024/1/20/0", f"products/2024/1/20/{NAME}"
    for kind, place in {"IMG_DATA": "", "QI_DATA": "qi", "AUX_DATA": "auxiliary"}.items():
        (tile / place).mkdir(parents=True, exist_ok=True)
        for path in (safe / GRANULE / kind).iterdir():
            name = f"{path.stem[-3:]}.jp2" if kind == "IMG_DATA" else path.name.removeprefix("AUX_")
            shutil.copy(path, tile / place / name)
    shutil.copy(safe / GRANULE / "MTD_TL.xml", tile / "metadata.xml")
    info = {"path": "tiles/31/T/CJ/2024/1/20/0", "productName": NAME, "productPath": product}
    (tile / "tileInfo.json").write_text(json.dumps(info))
    facts = {"name": NAME, "path": product, "timestamp": "2024-01-20T10:53:41.024Z"}
    facts |= {"datatakeIdentifier": "GS2A_20240120T105341_044807_N02.04", "datastrips": [{"path": f"{product}/0"}]}
    (tile / "productInfo.json").write_text(json.dumps(facts))
    if metadata:
        (bucket / product).mkdir(parents=True)
        shutil.copy(safe / "MTD_MSIL1C.xml", bucket / product / "metadata.xml")
    return tile


def in_tar(safe, folder):
    with tarfile.open(folder / "product.tar", "w") as archive:
        archive.add(safe, f"somewhere/{safe.name}")
    return folder / "product.tar"


def first_granule(safe, folder):
    return Path(products_in(str(as_many_granules(safe, folder)))[0])


def imported(path, folder):
    """Return all that the import makes: rasters and the scene."""
    names = {name: folder / f"{name}.tif" for name in ("angles", "toa_10m", "toa_20m", "toa_60m", "mask", "overview")}
    import_l1c.run(path, folder / "metadata.json", **names)
    scene = json.loads((folder / "metadata.json").read_text())
    pixels = {n: read(names[n], TOA, band) for n, band in (("toa_10m", "B03"), ("toa_20m", "B11"), ("toa_60m", "B09"))}
    return scene, pixels | {"mask": read(names["mask"], MASK, "mask")}


@pytest.mark.slow
@pytest.mark.parametrize("layout", [in_tar, first_granule, as_aws])
def test_every_layout_gives_what_the_safe_gives(safe, tmp_path, layout):
    path = layout(safe, tmp_path)
    assert product_name(path) == NAME
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    scene, pixels = imported(safe, tmp_path / "a")
    other, found = imported(path, tmp_path / "b")
    for one in (scene, other):
        one.pop("checksum")
        one["defaults"] = [text for text in one["defaults"] if not text.startswith("Checksums")]
    assert other == scene
    for name, values in pixels.items():
        np.testing.assert_array_equal(found[name], values)


def test_without_the_products_metadata_those_of_the_satellite_stand_in(safe, tmp_path):
    (tmp_path / "bucket").mkdir()
    tile = as_aws(safe, tmp_path / "bucket", metadata=False)
    scene, known = (read_l1c(open_product(path), 331).scene for path in (tile, safe))
    assert scene.earth_sun == pytest.approx(known.earth_sun, abs=1e-3)
    for name, band in scene.bands.items():
        assert band.offset == known.bands[name].offset
        assert band.solar_irradiance == pytest.approx(known.bands[name].solar_irradiance, rel=1e-3)
        centre = (band.response.wavelength * band.response.values).sum() / sum(band.response.values)
        theirs = known.bands[name].response
        assert centre == pytest.approx((theirs.wavelength * theirs.values).sum() / sum(theirs.values), abs=3)
    assert replace(scene, bands={}, earth_sun=0) == replace(known, bands={}, earth_sun=0)
    assert any(text.startswith("Product metadata: missing") for text in open_product(tile, "refuse").unverified())
    shutil.copy(safe / "MTD_MSIL1C.xml", tile / "product_metadata.xml")
    assert read_l1c(open_product(tile), 331).scene == known
    text = (tile / "productInfo.json").read_text()
    (tile / "product_metadata.xml").unlink()
    (tile / "productInfo.json").write_text(text.replace("S2A_MSIL1C", "S2C_MSIL1C"))
    with pytest.raises(StepError, match="responses of S2C .* product_metadata.xml"):
        read_l1c(open_product(tile), 331)


def test_a_real_tile_folder():
    folder = next((SHARED / "data/l1c_aws_layout_n0209").glob("*"), None)
    if folder is None:
        pytest.skip("needs ../shared/data")
    found = read_l1c(open_product(folder), 331)
    assert found.scene.product == folder.name
    assert (found.scene.baseline, found.scene.grid.epsg, len(found.masks)) == ("02.09", 32755, 66)
    assert found.scene.sensing_time.startswith("2020-10-11T00:06:49")


def test_a_real_granule_has_compact_names(tmp_path):
    """Tile metadata of 2016, whose masks have long names."""
    from steps.l1c.compact import Names
    from steps.l1c.documents import Xml, parse
    from steps.l1c.metadata import masks_of

    path = SHARED / "data/format_examples/l1c_old/S2A_OPER_MTD_L1C_TL.trimmed.xml"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    root = parse(path.read_bytes(), path.name)
    names = Names(Xml(root, path.name), "GS2A_20160905T010422_006291_N02.04", 2, "02.04")
    assert names.product == "S2A_MSIL1C_20160905T010422_N0204_R002_T53HLA_20160905T010424"
    assert names.granule == "GRANULE/L1C_T53HLA_A006291_20160905T010424"
    masks = masks_of(Xml(names.tile_document(root), path.name))
    assert len(masks) == 66
    assert masks[-1].name == f"{names.granule}/QI_DATA/MSK_CLOUDS_B00.gml"


def test_a_folder_of_many_granules_is_many_products(safe, tmp_path):
    product = as_many_granules(safe, tmp_path)
    products, set_aside = l1c_products(str(product), "demo")
    assert not set_aside
    assert [name.split("_")[5] for name in products] == ["T31TCJ", "T31TDJ"]
    assert all(Path(path).parent == product / "GRANULE" for path in products.values())
    (tmp_path / "table.csv").write_text(f"input\n{product}\n{safe}\n")
    products, set_aside = l1c_products(str(tmp_path / "table.csv"), "demo")
    assert len(products) == 2
    assert "the same product as" in next(iter(set_aside.values()))


def test_a_damaged_file_of_a_granule_is_found(safe, tmp_path):
    granule = first_granule(safe, tmp_path)
    image = next(granule.glob("IMG_DATA/*_B04.jp2"))
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    with pytest.raises(StepError, match=r"B04.jp2: does not fit its checksum in manifest.safe"):
        import_l1c.check(granule)


@pytest.mark.parametrize("kept", [0, 700, 0.5, 0.999])
def test_a_tar_that_ends_too_early(safe, tmp_path, kept):
    content = in_tar(safe, tmp_path).read_bytes().rstrip(b"\0")
    (tmp_path / "cut.tar").write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(StepError, match="cut.tar"):
        import_l1c.check(tmp_path / "cut.tar")


def test_what_a_tar_may_hold(safe, tmp_path):
    """A compressed one, one with a member twice, and one whose members lead out of it."""
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.add(safe, safe.name)
    with pytest.raises(StepError, match="compressed"):
        open_product(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for _ in range(2):
            archive.add(safe / "MTD_MSIL1C.xml", "x/MTD_MSIL1C.xml")
    with pytest.raises(StepError, match="twice in the tar"):
        product_name(tmp_path / "b.tar")
    with tarfile.open(tmp_path / "c.tar", "w") as archive:
        archive.add(safe / "MTD_MSIL1C.xml", "x/MTD_MSIL1C.xml")
        link = tarfile.TarInfo("x/INSPIRE.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert open_product(tmp_path / "c.tar").names() == ["MTD_MSIL1C.xml"]
