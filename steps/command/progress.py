"""What a run shows while it is at work: a live line a product on a terminal, plain lines elsewhere.

It listens to Snakemake's log. What Snakemake itself would show goes to its log file alone, but for warnings and errors;
stages write theirs to the terminal themselves.
"""

import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from steps.core.documents import atomic
from steps.l2a.run_summary import WHOLE_PRODUCT, stage_seconds

#: Seconds between two looks at what is going on.
_PERIOD = 0.5
#: Most that a running stage counts of what it took in earlier runs.
_ALMOST = 0.95
#: Share of a product below which its end is not foreseen.
_FORESEEN = 0.03
#: Weight of a run beside all before it in what a stage is expected to take.
_NEWEST = 0.3
#: Stages that belong to no product and take some time.
_FOR_ALL = ("demo", "look_up_table")
#: Products up to which each stage has a line where there is no terminal.
_FEW = 20
_NAME = re.compile(r"(S2\w)_MSIL2A_(\d{4})(\d\d)(\d\d)T\d{6}_N\d{4}_R\d{3}_(T\w{5})_")
#: Control sequences of terminals (ECMA-48): so many lines up, and erase all from there.
_UP = "\x1b[{}A\r"
_CLEAR = "\r\x1b[J"


def label(product: str) -> str:
    """Return a short name of a product: tile, date and satellite."""
    found = _NAME.match(product)
    return f"{found[5]} {found[2]}-{found[3]}-{found[4]} {found[1]}" if found else product


def duration(seconds: float) -> str:
    """Return a time as `1 h 05 min`, `3 min` or `20 s`, the nearest of what is told."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


class Memory:
    """The seconds that stages took in earlier runs on this machine, in a file that may be lost.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path):
        self._path, self.seconds = path, dict[str, float]()
        with suppress(OSError, ValueError, AttributeError, TypeError):
            given = json.loads(path.read_bytes())
            self.seconds = {str(stage): float(value) for stage, value in given.items() if value > 0}

    def learn(self, stage: str, seconds: float) -> None:
        """Take into account how long a stage has taken."""
        before = self.seconds.get(stage, seconds)
        self.seconds[stage] = max(before + _NEWEST * (seconds - before), 0.01)

    def keep(self) -> None:
        """Write the file, if that can be done."""
        with suppress(OSError), atomic(self._path) as part:
            part.write_text(json.dumps(self.seconds, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@dataclass
class Product:
    """Follow a product through its stages.

    Attributes
    ----------
    stages
        Seconds that each stage which has to run is expected to take.
    begun
        When its first stage began.
    running
        When each stage that runs began.
    done
        Stages that have ended.
    failed
        Stages that have failed, unless they are tried again.
    """

    stages: dict[str, float]
    begun: float | None = None
    running: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether all of its stages have ended."""
        return self.done >= self.stages.keys()

    def share(self, now: float) -> float:
        """Return how much of it is done, 0 to 1, by the seconds that its stages are expected to take."""
        ended = sum(self.stages[stage] for stage in self.done)
        for stage, begun in self.running.items():
            ended += min(now - begun, _ALMOST * self.stages[stage])
        return ended / sum(self.stages.values())

    def left(self, now: float) -> float | None:
        """Return the seconds until its end, None where they cannot be foreseen."""
        share = self.share(now)
        return (now - self.begun) * (1 - share) / share if self.begun is not None and share > _FORESEEN else None


class Progress(logging.Handler):
    """Show what a run is doing.

    Parameters
    ----------
    logger
        Snakemake's, which it listens to.
    jobs
        Returns the jobs of the run, Snakemake's, once it is planned.
    local
        Returns whether they run on this machine.
    folder
        Of all products.
    memory
        What stages are expected to take.
    stream
        Where to write to.
    terminal
        Whether lines can be written over there.
    clock
        Seconds.
    """

    def __init__(
        self,
        logger: logging.Logger,
        jobs: Callable[[], Iterable],
        local: Callable[[], bool],
        folder: Path,
        memory: Memory,
        stream: TextIO,
        terminal: bool,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self._logger, self._planned, self._local = logger, jobs, local
        self._folder, self._memory = folder, memory
        self._stream, self._terminal, self._clock = stream, terminal, clock
        self._products: dict[str, Product] = {}
        self._of: dict[int, tuple[str, str]] = {}
        self._others: list[str] = []
        self._begun = clock()
        self._ended = threading.Event()
        self._shown = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take an event of Snakemake's; others are none of ours."""
        event = str(getattr(record, "event", ""))
        if event == "workflow_started":
            self._quieten()
        elif event == "job_info":
            self._plan()
            self._begin(record.__dict__["jobid"])
        elif event == "job_finished":
            self._end(record.__dict__["job_id"], failed=False)
        elif event == "job_error":
            self._end(record.__dict__["jobid"], failed=True)

    def _quieten(self) -> None:
        """Leave Snakemake's messages to its log file, but for warnings, errors and that there is nothing to do."""
        for handler in self._logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.addFilter(self._of_interest)

    def _of_interest(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno < logging.WARNING:
            return text.startswith(("Nothing to be done", "Complete log"))
        # A stage that runs here tells by itself that it has failed.
        told = str(getattr(record, "event", "")) == "job_error" or text.startswith("RuleException")
        return not (told and self._local())

    def _plan(self) -> None:
        if self._of:
            return
        for job in self._planned():
            product = job.wildcards_dict.get("product", "")
            self._of[job.jobid] = product, job.rule.name
            if product:
                expected = self._memory.seconds.get(job.rule.name, 1.0)
                self._products.setdefault(product, Product({})).stages[job.rule.name] = expected
        if self._terminal:
            threading.Thread(target=self._go_on, daemon=True).start()

    def _begin(self, job: int) -> None:
        name, stage = self._of.get(job, ("", ""))
        if product := self._products.get(name):
            product.begun = self._clock() if product.begun is None else product.begun
            product.running[stage] = self._clock()
            product.failed.discard(stage)
        elif stage in _FOR_ALL:
            self._others.append(stage)
            if not self._terminal:
                self._say(f"{stage}, for all products")

    def _end(self, job: int, failed: bool) -> None:
        name, stage = self._of.get(job, ("", ""))
        product = self._products.get(name)
        if stage in self._others:
            self._others.remove(stage)
        if not product or stage not in product.running:
            return
        seconds = self._clock() - product.running.pop(stage)
        if failed:
            product.failed.add(stage)
        else:
            product.done.add(stage)
            self._memory.learn(stage, seconds)
            if stage == WHOLE_PRODUCT:
                for inner, wall in stage_seconds(self._folder / name / "logs", time.time() - seconds).items():
                    self._memory.learn(inner, wall)
        if self._terminal:
            return
        if failed:
            self._say(f"{name}: {stage} failed")
        elif product.complete:
            self._say(f"{name}: done in {duration(self._clock() - (product.begun or 0))}{self._of_all()}")
        elif len(self._products) <= _FEW:
            self._say(f"{name}: {stage} done, {product.share(self._clock()):.0%}{_foreseen(product, self._clock())}")

    def _say(self, text: str) -> None:
        self._stream.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        self._stream.flush()

    def _of_all(self) -> str:
        return f"; {self._total(self._clock())}" if len(self._products) > 1 else ""

    def _go_on(self) -> None:
        while not self._ended.wait(_PERIOD):
            self.acquire()
            try:
                self._show(self._lines(shutil.get_terminal_size()))
            finally:
                self.release()

    def _lines(self, size: os.terminal_size) -> list[str]:
        """Return what to show now: a line a product that is at work, and one on all."""
        now = self._clock()
        active = [(name, product) for name, product in list(self._products.items()) if product.running]
        lines = [self._line(name, product, now) for name, product in active[: size.lines - 4]]
        lines += [f"{stage}, for all products" for stage in self._others]
        lines += [self._total(now)] if len(self._products) > 1 else []
        return [line[: size.columns - 1] for line in lines]

    def _line(self, name: str, product: Product, now: float) -> str:
        stages, share = ", ".join(product.running), product.share(now)
        foreseen = _foreseen(product, now)
        if stages == WHOLE_PRODUCT:
            elapsed = now - product.running[WHOLE_PRODUCT]
            stages, share = self._inside(name, elapsed)
            foreseen = f", {duration(elapsed * (1 - share) / share)} to go" if share > _FORESEEN else ""
        return f"{label(name):21} {share:4.0%}{foreseen}  {stages}"

    def _inside(self, name: str, elapsed: float) -> tuple[str, float]:
        """Return the last stage of a product that has a run of its own, and how much of the product is done."""
        logs = self._folder / name / "logs"
        done = stage_seconds(logs, time.time() - elapsed)
        expected = {stage: s for stage, s in self._memory.seconds.items() if stage != WHOLE_PRODUCT}
        share = sum(expected.get(stage, 0) for stage in done) / (sum(expected.values()) or 1)
        times = {}
        for log in logs.glob("*.log"):
            with suppress(OSError):
                times[log.stem] = log.stat().st_mtime
        at_work = [stage for stage, since in times.items() if since > time.time() - elapsed and stage not in done]
        return ", ".join(stage for stage in at_work if stage != WHOLE_PRODUCT), min(share, _ALMOST)

    def _total(self, now: float) -> str:
        products = list(self._products.values())
        done, failed = sum(one.complete for one in products), sum(bool(one.failed) for one in products)
        share = sum(one.share(now) if not one.failed else 1 for one in products) / len(products)
        text = f"{done} of {len(products)} products done" + (f", {failed} failed" if failed else "")
        left = (now - self._begun) * (1 - share) / share if share > 0 else None
        return text if left is None or share >= 1 else f"{text}, {duration(left)} to go"

    def _show(self, lines: list[str]) -> None:
        """Write lines over those shown before.

        The cursor waits on an empty line above them, so that what others write to the terminal stays.
        """
        self._stream.write(_CLEAR + "".join(f"\n{line}" for line in lines))
        self._stream.write(_UP.format(len(lines)) if lines else "")
        self._stream.flush()
        self._shown = bool(lines)

    def close(self) -> None:
        """Take the lines away, and keep what has been learned."""
        if not self._ended.is_set():
            self._ended.set()
            if self._shown:
                self._show([])
            if self._of:
                self._memory.keep()
        super().close()


def _foreseen(product: Product, now: float) -> str:
    left = product.left(now)
    return "" if left is None else f", {duration(left)} to go"


def show_progress(workflow, folder: Path, memory: Path, stream: TextIO) -> Progress | None:
    """Show the progress of a run of Snakemake's, in place of its own messages, unless the user wants these.

    Parameters
    ----------
    workflow
        Snakemake's.
    folder
        Of all products.
    memory
        File for what stages take on this machine.
    stream
        Where to write to.
    """
    wanted = workflow.output_settings
    if not workflow.is_main_process or wanted.verbose or wanted.quiet or wanted.printshellcmds or wanted.dryrun:
        return None
    logger = workflow.logger_manager.logger
    progress = Progress(
        logger=logger,
        jobs=lambda: workflow.dag.needrun_jobs(),
        local=lambda: workflow.local_exec,
        folder=folder,
        memory=Memory(memory),
        stream=stream,
        terminal=stream.isatty(),
    )
    logger.handlers.insert(0, progress)  # before it shows that the run begins
    return progress
