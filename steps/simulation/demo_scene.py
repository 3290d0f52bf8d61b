"""Facts of the demo product: a real scene that comes without metadata. Plain Python, so the workflow can import it.

The pixels are Sentinel-2A's of 2016-01-12, 15:58 UTC, in tile 18SVG (coast of Virginia). The orbit follows from the
repeat cycle, the sun from astronomy, and the place in the swath from the orbit (`steps.sentinel2.geometry`). What
cannot be known is nominal: the start of the datatake and the date of creation.
"""

import datetime as dt

from steps.simulation.acquisition import Acquisition

DEMO = Acquisition(
    satellite="S2A",
    baseline="02.04",
    tile="T18SVG",
    datatake_start=dt.datetime(2016, 1, 12, 15, 55, tzinfo=dt.UTC),
    sensing_time=dt.datetime(2016, 1, 12, 15, 58, tzinfo=dt.UTC),
    # The first day of the compact format.
    creation_time=dt.datetime(2016, 12, 6, tzinfo=dt.UTC),
    absolute_orbit=2911,
    relative_orbit=54,
    abstract="Sentinel-2 Level-1C, contains modified Copernicus Sentinel data 2016; metadata computed by Sen2Flow",
)
#: Name of the product, without `.SAFE`.
DEMO_PRODUCT = DEMO.product
