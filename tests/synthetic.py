"""Scenes whose truth is known: top-of-atmosphere rasters computed point by point from the atmosphere package."""

from functools import cache
from pathlib import Path

import numpy as np

from steps.atmosphere.band import band_atmosphere
from steps.atmosphere.inversion import toa_reflectance
from steps.atmosphere.lut import LookUpTable, load_table, write_table
from steps.atmosphere.models import lut_path
from steps.atmosphere.scene import geometry
from steps.atmosphere.table import build_table
from steps.core.documents import write_document
from steps.core.rasters import Grid, bands_of, grid_of, read, write
from steps.sentinel2.angles import AngleGrid
from steps.sentinel2.bands import BANDS
from steps.sentinel2.kinds import ANGLES, AOT, CLASSIFICATION, REFLECTANCE_OFFSET, REFLECTANCE_SCALE, TERRAIN, TOA, WVP
from steps.sentinel2.reports import ChosenAerosol, SceneMeans, SentUp, Span
from steps.sentinel2.responses import reference_response
from steps.sentinel2.scene import Auxiliary, Band, Scene

OZONE = 0.3


def table_path(aerosol="continental") -> Path:
    """Where a look-up table is, which is built when the cache folder lacks it."""
    path = lut_path(aerosol)
    if not path.exists():
        write_table(path, build_table(aerosol, 2))
    return path


def write_model(path: Path, aerosol="continental") -> Path:
    """Write what the stage aerosol tells the others: a model that may be maritime aerosol instead."""
    names = {model: table_path(model).name for model in (aerosol, "maritime")}
    write_document(path, ChosenAerosol({aerosol: 1.0}, {"maritime": 1.0}, names))
    return path


@cache
def table(aerosol="continental") -> LookUpTable:
    return load_table(table_path(aerosol))


class SyntheticScene:
    """A scene in a folder; `width` and `height` in pixels of 60 m."""

    def __init__(self, folder, width=40, height=40, *, sun_zenith=35.0, elevation=None, classes=None, auxiliary=None):
        self.folder, self.grid = folder, Grid(32631, 300000, 4900020, 10, width * 6, height * 6)
        self.metadata, self.angles = folder / "metadata.json", folder / "angles.tif"
        self.scene = Scene(
            product="S2A_MSIL1C_20240120T105341_N0510_R051_T31TCJ_20240120T125329",
            satellite="S2A",
            tile="T31TCJ",
            sensing_time="2024-01-20T10:54:33.024Z",
            baseline="05.10",
            quantification=10000,
            earth_sun=1.03,
            grid=self.grid,
            sun_zenith=sun_zenith,
            sun_azimuth=160,
            bands={band: Band(-1000, 1500, reference_response("S2A", band)) for band in BANDS},
            auxiliary=auxiliary or Auxiliary(ozone=OZONE),
        )
        self.scene.write(self.metadata)
        self._write_angles(sun_zenith)
        # Elevation in m as a function of map coordinates in m, classes as a function of the 20 m grid's shape.
        self.elevation = elevation or (lambda x, y: np.zeros(np.broadcast_shapes(x.shape, y.shape)))
        for resolution in (10, 20, 60):
            self._write_terrain(resolution)
        shape = self.grid.at(20).shape
        scl = np.full(shape, 4, "u1") if classes is None else classes(shape)
        nothing = np.zeros(shape, "u1")
        write(folder / "scl.tif", CLASSIFICATION, self.grid.at(20), {"SCL": scl, "CLD": nothing, "SNW": nothing})
        self.classes = scl

    def _write_angles(self, sun_zenith):
        shape = (4, 4)
        rows, columns = np.indices(shape)
        fields = {"sun_zenith": sun_zenith + 0.05 * rows, "sun_azimuth": 160 + 0.05 * columns}
        for i, band in enumerate(BANDS):
            fields |= {f"view_zenith_{band}": 5 + 0.2 * columns + 0.02 * i, f"view_azimuth_{band}": 100 + 0.3 * rows}
        grid = Grid(32631, 300000 - 2500, 4900020 + 2500, 5000, *shape)
        write(self.angles, ANGLES, grid, {k: np.broadcast_to(v, shape).astype("f4") for k, v in fields.items()})

    def _write_terrain(self, resolution):
        grid = self.grid.at(resolution)
        elevation = np.rint(self.elevation(*self.coordinates(resolution))).astype("i2")
        cosine = np.full(grid.shape, round(1e4 * np.cos(np.radians(self.scene.sun_zenith))), "i2")
        write(self.terrain(resolution), TERRAIN, grid, {"elevation": elevation, "cos_incidence": cosine})

    def terrain(self, resolution):
        return self.folder / f"terrain_{resolution}.tif"

    def coordinates(self, resolution):
        """Map coordinates of the pixel centres."""
        grid = self.grid.at(resolution)
        x = grid.left + resolution * (np.arange(grid.width) + 0.5)
        y = grid.top - resolution * (np.arange(grid.height) + 0.5)
        return np.meshgrid(x, y)

    def atmosphere(self, band, resolution, aot550, water_vapour, aerosol="continental"):
        """The atmosphere of every pixel."""
        x, y = self.coordinates(resolution)
        sun, view, azimuth = geometry(AngleGrid(self.angles), band, x, y)
        return band_atmosphere(
            table(aerosol),
            self.scene.bands[band].response,
            sun_zenith=sun,
            view_zenith=view,
            relative_azimuth=azimuth,
            elevation_km=np.rint(self.elevation(x, y)) / 1000,
            aot550=aot550,
            water_vapour=water_vapour,
            ozone=self.scene.auxiliary.ozone,
        )

    def write_toa(self, path, resolution, surfaces, aot550, water_vapour, nodata=None):
        """Write the top-of-atmosphere raster over given surface reflectances (band name to array or number)."""
        grid, bands = self.grid.at(resolution), {}
        for band, surface in surfaces.items():
            toa = toa_reflectance(surface, self.atmosphere(band, resolution, aot550, water_vapour))
            stored = np.rint((toa - REFLECTANCE_OFFSET) / REFLECTANCE_SCALE).astype("u2")
            bands[band] = np.where(nodata, 0, stored).astype("u2") if nodata is not None else stored
        write(path, TOA, grid, bands)
        return path

    def write_air(self, aot550, water_vapour):
        """Write the AOT and WVP rasters of 20 m."""
        grid = self.grid.at(20)
        for name, kind, values in (("aot.tif", AOT, aot550), ("wvp.tif", WVP, water_vapour)):
            stored = np.rint(np.broadcast_to(values, grid.shape) / kind.scale).astype("u2")
            write(self.folder / name, kind, grid, {kind.name: np.where(self.classes == 0, 0, stored).astype("u2")})
        return {"aot": self.folder / "aot.tif", "wvp": self.folder / "wvp.tif"}

    def write_means(self, toa):
        """Write the means of the scene that the reflectance needs: of the ground in `toa`, and of the air's rasters."""
        size = grid_of(toa, TOA).resolution
        at = [((np.arange(n) + 0.5) * size // 20).astype(int) for n in grid_of(toa, TOA).shape]
        classes, light = self.classes[np.ix_(*at)], None
        if not np.isin(classes, (0, 8, 9, 10)).all():
            bands = {band: read(toa, TOA, band) for band in bands_of(toa, TOA)}
            ground = {band: float(values[~np.isin(classes, (0, 8, 9))].mean()) for band, values in bands.items()}
            light = {
                band: SentUp(ground[band], values[classes > 0].mean() - ground[band]) for band, values in bands.items()
            }
        fields = {"elevation_km": self.elevation(*self.coordinates(60)) / 1000}
        for name, path, kind in (("aot550", "aot.tif", AOT), ("water_vapour", "wvp.tif", WVP)):
            stored = read(self.folder / path, kind, kind.name)
            fields[name] = np.append(stored[stored > 0], [] if stored.any() else 1) * kind.scale
        spans = {name: Span(v.mean(), v.min(), v.max()) for name, v in fields.items()}
        write_document(self.folder / "means.json", SceneMeans(**spans, light=light))
        return self.folder / "means.json"

    @property
    def inputs(self):
        """Arguments that all stages take."""
        return {
            "classification": self.folder / "scl.tif",
            "metadata": self.metadata,
            "angles": self.angles,
            "aerosol_model": write_model(self.folder / "model.json"),
        }
