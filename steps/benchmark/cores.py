"""How fast one product would be on more cores: the workflow, with stages that only wait, as long as real ones take.

Two runs are measured in which each stage is alone on the machine, with one thread and with two. What the CPU time of
two threads lacks of twice their wall time is the time in which only one of them works; threads share all else. Then
Snakemake runs the workflow for each number of cores with a command in place of each stage that sleeps for the former
and a thread's share of the latter, but no shorter than the longest piece that the stage says cannot be shared. So what
follows what, threads, the choice of the next job, and what Snakemake itself takes are not modelled but are what they
are. CPU time that two threads take more than one, since they wait for each other's memory, counts as any other. What
the model leaves out: that more threads may wait for memory and files longer, and that COGs have two threads each where
there are more than long files.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from steps.benchmark.measure import measure, workflow_command
from steps.benchmark.stamp import write_stamp
from steps.core.cli import cli
from steps.core.errors import StepError
from steps.l2a.run_summary import stage_costs

logger = logging.getLogger(__name__)

#: Numbers of cores to simulate, and those of real runs to compare with.
SIMULATED = (1, 2, 4, 8, 16)
REAL = (1, 2, 4, 8)
#: Most threads that a stage may have.
_MOST = 64
#: Seconds by which a stage may seem to begin before the end of one that it followed: start-up counts twice.
_SLACK = 1.0
_LONGEST = re.compile(r"longest of \d+ files: ([\d.]+) s")
_STAND_IN = """\
# What stands for a stage: waits, tells when, and makes its outputs.   stand_in.sh RULE THREADS OUTPUT...
rule=$1 threads=$2 begin=$(date +%s.%N)
shift 2
sleep "$(awk -v rule="$rule" -v threads="$threads" '$1 == rule && $2 == threads {print $3}' seconds.txt)"
for file; do
    mkdir -p "$(dirname "$file")"
    case ${file##*/} in
        *.SAFE) mkdir "$file" ;;
        *.json) if [ -f "../real/$file" ]; then cp "../real/$file" "$file"; else touch "$file"; fi ;;
        *.*) touch "$file" ;;
        *) mkdir "$file" ;;
    esac
done
echo "$rule $threads $begin $(date +%s.%N)" >> schedule.txt
"""
_SNAKEFILE = """\
include: {workflow!r}


for stage in workflow.rules:
    if stage.shellcmd and stage.shellcmd.strip():
        # The second is what a job that begins takes.
        stage.shellcmd = COMMANDS[stage.name] = "sh stand_in.sh " + stage.name + " {{threads}} {{output:q}}"


rule products:
    input:
        rules.all.input,
"""


@dataclass(frozen=True)
class Job:
    """When a stage ran, s since the first one began, and with how many threads."""

    stage: str
    begin: float
    end: float
    threads: int


class _Run(NamedTuple):
    """The wall time of a real run (s), and of each stage what `_stages` returns."""

    wall: float
    stages: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Scaling:
    """What a stage takes on some threads.

    Attributes
    ----------
    one, two
        Wall time with one thread and with two, with nothing beside it, s.
    cpu
        CPU time with two threads, s.
    longest
        Time of its longest piece that only one thread can do, s.
    memory
        Highest memory with one thread, MB.
    """

    one: float
    two: float
    cpu: float
    longest: float = 0
    memory: float = 0

    @property
    def alone(self) -> float:
        """Seconds in which only one of two threads works."""
        return min(max(2 * self.two - self.cpu, 0), self.two)

    def seconds(self, threads: int) -> float:
        """Return the wall time with some threads, s."""
        if threads == 1:
            return self.one
        shared = 2 * (self.two - self.alone)
        return self.alone + max(shared / threads, min(self.longest, shared))


def run(
    snakefile: Path,
    l1c: str,
    folder: Path,
    simulated: list[int] | None = None,
    real: list[int] | None = None,
    threads: int = 2,
) -> None:
    """Measure how the stages of a product scale, and simulate runs on more cores.

    Real runs on more cores than there are show whether stages start in the simulated order; how long they take does
    not count. What an interrupted bench has measured in the same folder is taken again.

    Parameters
    ----------
    snakefile
        The workflow.
    l1c
        The Level-1C product, or `demo`. COGs are made of it.
    folder
        Output: `cores.csv` (a row a number of cores), `stages.csv` (a row a stage) and their stamp.
    simulated
        Numbers of cores, by default `SIMULATED`; the first is what others are compared with.
    real
        Numbers of cores of real runs to compare with, by default `REAL`.
    threads
        Cores of this machine, two at least.

    Raises
    ------
    StepError
        If there is only one core, or a run fails.
    """
    if threads < 2:
        raise StepError("benchmark_cores: needs two cores to tell how stages scale; run with --cores 2")
    simulated, real = simulated or list(SIMULATED), real or list(REAL)
    work = folder.absolute() / "work"
    work.mkdir(parents=True, exist_ok=True)
    _real(snakefile, "demo", work, "warm", 2)  # so that no kernel has to be compiled in what is measured
    found = {1: _real(snakefile, l1c, work, "cores_1", 1)}
    alone = ["--set-threads", *(f"{stage}=2" for stage in found[1].stages)]
    scaling = _scaling(found[1].stages, _real(snakefile, l1c, work, "alone_2", 2, alone).stages)
    found |= {cores: _real(snakefile, l1c, work, f"cores_{cores}", cores) for cores in real if cores not in found}
    rows = []
    seconds: dict[int, dict[str, Job]] = {}
    first = None
    for cores in simulated:
        wall, jobs = simulate(snakefile, l1c, work / "simulated", scaling, cores)
        first = first or wall
        path = waited_for(jobs)
        logger.info("%d cores: %.1f s, %s", cores, wall, " > ".join(f"{j.stage} {j.end - j.begin:.1f}" for j in path))
        seconds[cores] = {job.stage: job for job in jobs}
        real_run = found.get(cores)
        rows.append(
            {
                "cores": cores,
                "measured s": real_run.wall if real_run and cores <= threads else None,
                "simulated s": wall,
                "speed-up": first / wall,
                "stages side by side MB": _memory(jobs, scaling),
                "in the order of a real run": _alike(jobs, real_run.stages) if real_run else None,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "cores.csv", index=False, float_format="%.3g")
    _write_stages(folder / "stages.csv", scaling, seconds)
    write_stamp(folder / "stamp.json", f"snakemake --cores {threads} benchmark_cores --config input={Path(l1c).name}")
    shutil.rmtree(work)


def _real(snakefile: Path, l1c: str, work: Path, name: str, cores: int, options: Iterable[str] = ()) -> _Run:
    """Run the workflow, unless that has been done."""
    kept = work / f"{name}.json"
    if not kept.exists():
        place = work / "real"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        cost = measure([*_command(snakefile, l1c, place, cores), *options])
        logger.info("%s: %.1f s, %.1f CPU s", name, cost.wall, cost.cpu)
        kept.write_text(json.dumps([cost.wall, _stages(place / "out")]), encoding="utf-8")
    return _Run(*json.loads(kept.read_text(encoding="utf-8")))


def _command(snakefile: Path, l1c: str, place: Path, cores: int) -> list[str]:
    return workflow_command(snakefile, place, cores, (f"input={l1c}", "output=out", "formats=cog"))


def _stages(output: Path) -> dict[str, dict[str, float]]:
    """Return wall and CPU time, longest piece (s), memory (MB) and end of each stage of a run, from what it left."""
    found = {}
    for logs in [output / "demo", output / "logs", *output.glob("*/logs")]:
        for stage, (wall, cpu) in stage_costs(logs).items():
            log, table = logs / f"{stage}.log", logs.parent / f"benchmarks/{stage}.tsv"
            longest = _LONGEST.search(log.read_text(encoding="utf-8"))
            # Where Snakemake has measured nothing, start-up is in the CPU time alone.
            cost = {"wall": max(wall, cpu), "memory": 0.0}
            if table.exists():
                measured = pd.read_csv(table, sep="\t", na_values="-").iloc[0]
                cost = {"wall": float(measured.s), "memory": float(measured.max_pss)}
            cost |= {"cpu": cpu, "longest": float(longest[1]) if longest else 0.0, "end": log.stat().st_mtime}
            found[stage] = cost
    return found


def _scaling(one: Mapping[str, dict], two: Mapping[str, dict]) -> dict[str, Scaling]:
    return {
        stage: Scaling(cost["wall"], two[stage]["wall"], two[stage]["cpu"], cost["longest"], cost["memory"])
        for stage, cost in one.items()
    }


def simulate(
    snakefile: Path, l1c: str, place: Path, scaling: Mapping[str, Scaling], cores: int
) -> tuple[float, list[Job]]:
    """Run the workflow with stages that only wait.

    Parameters
    ----------
    snakefile, l1c
        The workflow, the product.
    place
        Folder to run in, removed first. Results of a real run may lie beside it in `real/out`; its reports are taken.
    scaling
        What each stage takes.
    cores
        Number of cores that Snakemake is told.

    Returns
    -------
    float
        Wall time of the run, s.
    list
        The jobs by their beginning.

    Raises
    ------
    StepError
        If the run fails.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    workflow = snakefile.absolute().parent / "workflow/Snakefile"
    (place / "Snakefile").write_text(_SNAKEFILE.format(workflow=str(workflow)), encoding="utf-8")
    (place / "stand_in.sh").write_text(_STAND_IN, encoding="utf-8")
    lines = [f"{s} {n} {one.seconds(n):.3f}\n" for s, one in scaling.items() for n in range(1, _MOST + 1)]
    (place / "seconds.txt").write_text("".join(lines), encoding="utf-8")
    wall = measure(_command(place / "Snakefile", l1c, place, cores)).wall
    words = [line.split() for line in (place / "schedule.txt").read_text(encoding="utf-8").splitlines()]
    first = min(float(begin) for _, _, begin, _ in words)
    jobs = [Job(s, float(begin) - first, float(end) - first, int(n)) for s, n, begin, end in words]
    return wall, sorted(jobs, key=lambda job: job.begin)


def waited_for(jobs: Iterable[Job]) -> list[Job]:
    """Return the chain of jobs that ends last, each of which began when the one before had ended."""
    chain = [max(jobs, key=lambda job: job.end)]
    while before := [job for job in jobs if job.end <= chain[0].begin]:
        chain.insert(0, max(before, key=lambda job: job.end))
    return chain


def _memory(jobs: list[Job], scaling: Mapping[str, Scaling]) -> float:
    """Return the highest sum of what the stages that run side by side take with one thread, MB."""
    return max(sum(scaling[o.stage].memory for o in jobs if o.begin <= job.begin < o.end) for job in jobs)


def _alike(jobs: list[Job], stages: Mapping[str, dict]) -> float:
    """Return the share of pairs of stages, one after the other in the simulated run, that were so in the real one."""
    real = {stage: (cost["end"] - cost["wall"], cost["end"]) for stage, cost in stages.items()}
    known = [job for job in jobs if job.stage in real]
    pairs = [(job.stage, other.stage) for job in known for other in known if job.end <= other.begin]
    return sum(real[later][0] > real[earlier][1] - _SLACK for earlier, later in pairs) / len(pairs)


def _write_stages(path: Path, scaling: Mapping[str, Scaling], seconds: Mapping[int, Mapping[str, Job]]) -> None:
    most = max(seconds)
    on_path = {job.stage for job in waited_for(seconds[most].values())}
    rows = [
        {
            "stage": stage,
            "one thread s": one.one,
            "two threads s": one.two,
            "CPU s of two": one.cpu,
            "not shared s": one.alone,
            f"threads of {most}": seconds[most][stage].threads,
            f"s of {most}": seconds[most][stage].end - seconds[most][stage].begin,
            "waited for": "yes" if stage in on_path else "no",
        }
        for stage, one in sorted(scaling.items(), key=lambda item: seconds[most][item[0]].begin)
    ]
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.3g")


if __name__ == "__main__":
    cli(run)
