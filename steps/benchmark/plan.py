"""What it takes to process many tiles a day: cores, memory, queue, network, storage, cost, and what breaks first.

`python -m steps.benchmark.plan --tiles 10000`. What a tile takes was measured on the day and machine that `Tile` names;
prices and limits of a site are assumptions to replace by your own.
"""

import argparse
from dataclasses import dataclass, fields, replace

#: Seconds.
_DAY = 86400.0
_MONTH = 30.4 * _DAY


@dataclass(frozen=True)
class Tile:
    """What a full tile of 10980 x 10980 pixels takes, measured in November 2026 on 2 cores of a 2.6 GHz server.

    Attributes
    ----------
    cpu_common, cpu_cog, cpu_safe, cpu_dem
        CPU seconds of what all products need, with decoding JPEG 2000; of writing COGs, of writing a SAFE; of an
        elevation model. (Of `benchmark_routes`, divided by the stages in workflow/report/performance.md.)
    cpu_planning
        CPU seconds of the Snakemake that plans the stages of one product.
    idle
        Share of the time in which a core of the job waits for another.
    memory
        Of what runs side by side, bytes.
    fetched, requests
        Bytes of a Level-1C product without what no stage reads, and requests to the object store for them.
    made_cog, made_safe, files
        Bytes of a product as COGs and as a SAFE (those of ESA's; ours were not measured), and files of the former.
    scratch
        Between the stages, bytes.
    all_cpu, all_memory
        CPU seconds and bytes of the process that plans all products as one job each.
    """

    cpu_common: float = 126
    cpu_cog: float = 35
    cpu_safe: float = 161
    cpu_dem: float = 10
    cpu_planning: float = 3
    idle: float = 0.1
    memory: float = 2.6e9
    fetched: float = 730e6
    requests: float = 75
    made_cog: float = 1.0e9
    made_safe: float = 1.0e9
    files: float = 35
    scratch: float = 6e9
    all_cpu: float = 0.002
    all_memory: float = 37e3


@dataclass(frozen=True)
class Site:
    """Where tiles are processed: all of it assumptions.

    Attributes
    ----------
    tiles
        To process in a day.
    cores
        Of a job, which makes a tile.
    slow
        Times that a core is slower than the measured ones.
    used
        Share of the time in which cores that are paid run a job.
    failed
        Share of tiles that are processed twice.
    archive
        Bytes a second that the archive sends to one account: four connections of 20 MB/s.
    queue
        Jobs that the queue starts in a second.
    store
        Bytes a second that the store takes.
    kept
        Days that products are kept.
    core_hour, stored_month, sent
        Prices of a core for an hour, of 1e9 bytes stored for a month, of 1e9 bytes sent out.
    """

    tiles: float = 10_000
    cores: float = 2
    slow: float = 1
    used: float = 0.8
    failed: float = 0.02
    archive: float = 80e6
    queue: float = 5
    store: float = 1e9
    kept: float = 30
    core_hour: float = 0.04
    stored_month: float = 0.023
    sent: float = 0


@dataclass(frozen=True)
class Need:
    """One need, and the share that it takes of what there is, None where nothing is known to limit it."""

    what: str
    amount: float
    unit: str = ""
    share: float | None = None


def plan(tile: Tile, site: Site, cog: bool = True, safe: bool = False, dem: bool = True) -> list[Need]:
    """Return what `site.tiles` a day need; `cog`, `safe`: which formats, `dem`: whether there is an elevation model."""
    runs = site.tiles * (1 + site.failed)
    cpu = tile.cpu_common + tile.cpu_planning + tile.cpu_cog * cog + tile.cpu_safe * safe + tile.cpu_dem * dem
    wall = cpu * site.slow / site.cores / (1 - tile.idle)
    jobs = runs * wall / _DAY
    made = tile.made_cog * cog + tile.made_safe * safe
    rates = {"fetched": runs * tile.fetched / _DAY, "started": runs / _DAY, "written": runs * made / _DAY}
    stored = site.tiles * made * site.kept
    planning = site.tiles * tile.all_cpu
    return [
        Need("CPU of a tile", cpu * site.slow, "s"),
        Need(f"wall time of a tile on {site.cores:g} cores", wall, "s"),
        Need("jobs at a time", jobs),
        Need("cores", jobs * site.cores / site.used),
        Need("memory of all jobs", jobs * tile.memory / 1e9, "GB"),
        Need("scratch of all jobs", jobs * tile.scratch / 1e9, "GB"),
        Need("jobs started by the queue", rates["started"], "1/s", rates["started"] / site.queue),
        Need("planning, by one process", planning, "CPU s", planning / _DAY),
        Need("its memory", site.tiles * tile.all_memory / 1e9, "GB"),
        Need("fetched from the archive", rates["fetched"] / 1e6, "MB/s", rates["fetched"] / site.archive),
        Need("requests to the archive", runs * tile.requests / _DAY, "1/s"),
        Need("fetched in a month", rates["fetched"] * _MONTH / 1e12, "TB"),
        Need("written to the store", rates["written"] / 1e6, "MB/s", rates["written"] / site.store),
        Need("files written", site.tiles * tile.files * cog, "1/day"),
        Need(f"store for {site.kept:g} days", stored / 1e12, "TB"),
        Need("cost of cores", runs * wall * site.cores / 3600 * site.core_hour / site.used, "a day"),
        Need("cost of the store when it is full", stored / 1e9 * site.stored_month * _DAY / _MONTH, "a day"),
        Need("cost of sending products out", site.tiles * made / 1e9 * site.sent, "a day"),
    ]


def breaks_first(needs: list[Need]) -> Need:
    """Return the need that is nearest to its limit, or farthest beyond it."""
    return max(needs, key=lambda need: need.share or 0)


def main(argv: list[str] | None = None) -> None:
    """Print the plan for what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m steps.benchmark.plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind in (Site, Tile):
        group = parser.add_argument_group(kind.__name__.lower(), kind.__doc__)
        for one in fields(kind):
            group.add_argument(f"--{one.name.replace('_', '-')}", type=float, default=one.default, metavar="NUMBER")
    for word, default in (("cogs", True), ("safes", False), ("elevation", True)):
        parser.add_argument(f"--{word}", action=argparse.BooleanOptionalAction, default=default)
    given = vars(parser.parse_args(argv))
    tile = replace(Tile(), **{one.name: given[one.name] for one in fields(Tile)})
    site = replace(Site(), **{one.name: given[one.name] for one in fields(Site)})
    needs = plan(tile, site, given["cogs"], given["safes"], given["elevation"])
    for need in needs:
        limit = "" if need.share is None else f"{100 * need.share:12.1f} % of what there is"
        print(f"{need.what:36} {need.amount:12,.4g} {need.unit:6}{limit}".rstrip())  # noqa: T201
    first = breaks_first(needs)
    verdict = "Not enough" if (first.share or 0) > 1 else "The first limit when there are more"
    print(f"{verdict}: {first.what}.")  # noqa: T201


if __name__ == "__main__":
    main()
