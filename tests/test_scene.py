"""The typed metadata and the angles between the nodes."""

import numpy as np
import pytest

from steps.core import rasters
from steps.core.errors import StepError
from steps.core.rasters import Grid
from steps.sentinel2.angles import AngleGrid, relative_azimuth
from steps.sentinel2.bands import BANDS
from steps.sentinel2.kinds import ANGLES
from steps.sentinel2.scene import Auxiliary, Band, Scene, SpectralResponse

NODES = Grid(32631, 300000 - 2500, 4900020 + 2500, 5000, 3, 3)


def scene():
    response = SpectralResponse(412.0, 1.0, (0.1, 1.0, 0.5))
    return Scene(
        product="S2A_MSIL1C_20240120T105341_N0510_R051_T31TCJ_20240120T125244",
        satellite="S2A",
        tile="T31TCJ",
        sensing_time="2024-01-20T10:54:33.000Z",
        baseline="05.10",
        quantification=10000.0,
        earth_sun=1.03,
        grid=Grid(32631, 300000, 4900020, 10, 10980, 10980),
        sun_zenith=65.0,
        sun_azimuth=163.0,
        bands={band: Band(-1000.0, 1884.69, response) for band in BANDS},
        auxiliary=Auxiliary(
            ozone=0.3, latitude=((44.0, 44.0),), longitude=((1.0, 2.0),), cams={"aod550": ((0.1, 0.2),)}
        ),
    )


def test_scene_survives_its_file(tmp_path):
    path = tmp_path / "metadata.json"
    scene().write(path)
    again = Scene.read(path)
    assert tuple(again.bands) == BANDS
    assert again.grid == scene().grid
    assert again.bands["B8A"].response.wavelength == pytest.approx([412, 413, 414])
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_broken_metadata_is_named(tmp_path):
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(StepError, match=r"metadata.json"):
        Scene.read(tmp_path / "metadata.json")


def angle_file(path, zenith, azimuth):
    bands = {"sun_zenith": zenith, "sun_azimuth": azimuth, "view_zenith_B02": zenith, "view_azimuth_B02": azimuth}
    rasters.write(path, ANGLES, NODES, {name: np.asarray(v, "f4") for name, v in bands.items()})
    return AngleGrid(path)


def test_angles_equal_the_nodes_at_the_nodes(tmp_path):
    zenith = np.arange(9.0).reshape(3, 3) + 40
    angles = angle_file(tmp_path / "angles.tif", zenith, np.full((3, 3), 160.0))
    x, y = np.meshgrid([300000.0, 305000, 310000], [4900020.0, 4895020, 4890020])
    assert angles.sun(x, y)[0] == pytest.approx(zenith, abs=1e-4)
    assert angles.view("B02", x, y)[1] == pytest.approx(np.full((3, 3), 160.0), abs=1e-4)


def test_azimuth_does_not_jump_at_north(tmp_path):
    azimuth = np.array([[350.0, 10, 10]] * 3)
    angles = angle_file(tmp_path / "angles.tif", np.full((3, 3), 30.0), azimuth)
    assert angles.sun(np.array([302500.0]), np.array([4895020.0]))[1] % 360 == pytest.approx([0], abs=1e-4)


def test_relative_azimuth_is_folded():
    assert relative_azimuth(np.array([10, 350, 100, 0]), np.array([350, 10, 290, 180])) == pytest.approx(
        [20, 20, 170, 180]
    )
