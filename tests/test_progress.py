"""What is shown of a run while it is at work: made of Snakemake's events, with a clock of our own."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from checkout import Checkout

from steps.command import progress
from steps.command.progress import Memory, Progress, duration, label

ONE = "S2A_MSIL2A_20160112T155500_N9901_R054_T18SVG_20161206T000000"
TWO = "S2B_MSIL2A_20240305T104819_N9901_R051_T31TCJ_20240305T125347"


class Run:
    """A run of Snakemake's of two products with two stages each, and a table for both."""

    def __init__(self, folder, terminal, stages=("aerosol", "reflectance"), products=(ONE, TWO)):
        planned = [("", "look_up_table"), *((product, stage) for product in products for stage in stages)]
        self.jobs = [
            SimpleNamespace(
                jobid=number,
                rule=SimpleNamespace(name=stage),
                wildcards_dict={"product": product} if product else {},
            )
            for number, (product, stage) in enumerate(planned)
        ]
        self.now, self.stream = 0.0, io.StringIO()
        self.progress = Progress(
            logger=logging.Logger("snakemake"),
            jobs=lambda: self.jobs,
            local=lambda: True,
            folder=folder,
            memory=Memory(folder / "seconds.json"),
            stream=self.stream,
            terminal=terminal,
            clock=lambda: self.now,
        )

    def event(self, name, product, stage, at):
        self.now = at
        job = next(
            one.jobid for one in self.jobs if (one.wildcards_dict.get("product", ""), one.rule.name) == (product, stage)
        )
        key = "job_id" if name == "job_finished" else "jobid"
        self.progress.handle(logging.makeLogRecord({"event": name, key: job}))

    def lines(self):
        """Return what a wide terminal shows."""
        return self.progress._lines(os.terminal_size((120, 40)))


def test_without_a_terminal_each_stage_is_a_line(tmp_path):
    (tmp_path / "seconds.json").write_text('{"aerosol": 30, "reflectance": 10}')
    run = Run(tmp_path, terminal=False)
    run.event("job_info", "", "look_up_table", 0)
    run.event("job_finished", "", "look_up_table", 20)
    run.event("job_info", ONE, "aerosol", 20)
    run.event("job_finished", ONE, "aerosol", 80)
    run.event("job_info", TWO, "aerosol", 80)
    run.event("job_error", TWO, "aerosol", 81)
    run.event("job_info", ONE, "reflectance", 81)
    run.event("job_finished", ONE, "reflectance", 100)
    run.progress.close()
    lines = [line.partition(" ")[2] for line in run.stream.getvalue().splitlines()]
    assert lines == [
        "look_up_table, for all products",
        f"{ONE}: aerosol done, 75%, 20 s to go",  # a third of what it has taken
        f"{TWO}: aerosol failed",
        f"{ONE}: done in 80 s; 1 of 2 products done, 1 failed",
    ]
    learned = json.loads((tmp_path / "seconds.json").read_text())
    assert learned == pytest.approx({"aerosol": 39, "reflectance": 12.7})  # 0.3 of the way to 60 and 19


def test_a_stage_that_is_tried_again_has_not_failed(tmp_path):
    run = Run(tmp_path, terminal=False, stages=["aerosol"])
    for event, at in (("job_info", 0), ("job_error", 5), ("job_info", 5), ("job_finished", 9)):
        run.event(event, ONE, "aerosol", at)
    assert run.stream.getvalue().splitlines()[-1].endswith("done in 9 s; 1 of 2 products done, 9 s to go")


@pytest.mark.parametrize("local", [True, False])
def test_failures_that_stages_tell_are_not_told_twice(tmp_path, local):
    """A stage on another machine tells nobody here."""
    run, shown = Run(tmp_path, terminal=False), io.StringIO()
    run.progress._local = lambda: local
    logger = run.progress._logger
    logger.handlers = [run.progress, logging.StreamHandler(shown)]
    logger.info("SNAKEMAKE", extra={"event": "workflow_started"})
    logger.info("Select jobs")
    logger.warning("careful")
    logger.error("Error in rule aerosol", extra={"event": "job_error", "jobid": 1})
    logger.error("RuleException:\nCalledProcessError")
    logger.error("Exiting")
    logger.info("Nothing to be done")
    expected = ["careful", "Exiting", "Nothing to be done"]
    if not local:
        expected[1:1] = ["Error in rule aerosol", "RuleException:", "CalledProcessError"]
    assert shown.getvalue().splitlines() == expected


def test_lines_of_a_terminal_tell_stage_share_and_end(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_PERIOD", 3600)
    (tmp_path / "seconds.json").write_text('{"aerosol": 30, "reflectance": 10}')
    run = Run(tmp_path, terminal=True)
    run.event("job_info", "", "look_up_table", 0)
    assert run.lines() == ["look_up_table, for all products", "0 of 2 products done"]
    run.event("job_finished", "", "look_up_table", 0)
    run.event("job_info", ONE, "aerosol", 0)
    run.now = 20
    assert run.lines()[0] == "T18SVG 2016-01-12 S2A  50%, 20 s to go  aerosol"
    assert run.lines()[1] == "0 of 2 products done, 60 s to go"
    run.now = 60  # longer than ever
    assert run.lines()[0] == "T18SVG 2016-01-12 S2A  71%, 24 s to go  aerosol"
    run.event("job_finished", ONE, "aerosol", 60)
    run.event("job_info", ONE, "reflectance", 60)
    run.event("job_info", TWO, "aerosol", 60)
    assert [line.split()[-1] for line in run.lines()[:2]] == ["reflectance", "aerosol"]
    assert run.progress._lines(os.terminal_size((20, 40)))[0] == "T18SVG 2016-01-12 S"
    run.progress.close()


def test_stages_of_a_product_with_a_run_of_its_own_are_read_from_its_logs(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_PERIOD", 3600)
    (tmp_path / "seconds.json").write_text('{"aerosol": 30, "reflectance": 10, "product": 100}')
    logs = tmp_path / ONE / "logs"
    logs.mkdir(parents=True)
    (logs / "dem.log").write_text("2026 steps.dem INFO: done in 5.00 s, 5.00 CPU s\n")
    os.utime(logs / "dem.log", (1, 1))  # of a run before
    run = Run(tmp_path, True, stages=["product"], products=[ONE])
    run.event("job_info", ONE, "product", 0)
    (logs / "aerosol.log").write_text("2026 steps.aerosol INFO: done in 40.00 s, 50.00 CPU s\n")
    (logs / "reflectance.log").write_text("2026 steps.reflectance INFO: begins\n")
    run.now = 60
    assert run.lines() == ["T18SVG 2016-01-12 S2A  75%, 20 s to go  reflectance"]
    run.event("job_finished", ONE, "product", 80)
    run.progress.close()
    assert json.loads((tmp_path / "seconds.json").read_text())["aerosol"] == pytest.approx(33)


class Terminal:
    """As much of a terminal as is needed here: lines, a cursor, and the codes by which it is moved and lines go."""

    def __init__(self):
        self.rows, self.row, self.column = [""], 0, 0

    def write(self, text):
        for code, plain in re.findall("(\x1b\\[\\d*[AJ]|\r|\n)|([^\x1b\r\n]+)", text):
            if code == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row == len(self.rows))
            elif code == "\r":
                self.column = 0
            elif code.endswith("A"):
                self.row -= int(code[2:-1])
            elif code:
                self.rows[self.row :] = [self.rows[self.row][: self.column]]
            else:
                row = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = row[: self.column] + plain + row[self.column + len(plain) :]
                self.column += len(plain)

    def flush(self):
        pass


def test_what_others_write_to_the_terminal_stays(tmp_path):
    run, terminal = Run(tmp_path, terminal=True), Terminal()
    run.progress._stream = terminal
    run.progress._show(["first", "second and a long one"])
    assert terminal.rows == ["", "first", "second and a long one"]
    terminal.write("WARNING: something\n")
    run.progress._show(["third"])
    assert terminal.rows == ["WARNING: something", "", "third"]
    terminal.write("ERROR: it is all over, as this long line tells\n")
    run.progress._show([])
    terminal.write("the table\n")
    assert terminal.rows == ["WARNING: something", "ERROR: it is all over, as this long line tells", "the table", ""]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (6000, "1 h 40 min")]
)
def test_times_are_told_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_names_are_short(tmp_path):
    assert label(ONE) == "T18SVG 2016-01-12 S2A"
    assert label("other") == "other"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": "b"}', '{"a": null}'])
def test_a_memory_that_is_no_memory_does_no_harm(tmp_path, content):
    (tmp_path / "seconds.json").write_text(content)
    memory = Memory(tmp_path / "seconds.json")
    assert memory.seconds == {}
    memory.learn("aerosol", 3)
    memory.keep()
    assert Memory(tmp_path / "seconds.json").seconds == {"aerosol": 3}


# --- with Snakemake --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_snakemake_is_quiet_unless_asked(tmp_path):
    """Its own log has everything."""
    checkout = Checkout(tmp_path / "project")
    command = "snakemake --cores 2 -- $(python -c 'import steps.simulation.demo_scene as s; print(s.DEMO_PRODUCT)')"
    command = command.replace("$(", "results/demo/$(") + ".SAFE"
    done = checkout.bash(command)
    assert "demo, for all products" in done.stderr
    assert "rule demo" not in done.stdout + done.stderr
    assert "rule demo" in next((checkout.folder / ".snakemake/log").glob("*.log")).read_text()
    assert "Nothing to be done" in checkout.bash(command).stderr
    assert "rule demo" in checkout.bash(command.replace("--cores", "--forceall --printshellcmds --cores")).stderr


@pytest.mark.slow
def test_a_terminal_gets_live_lines(tmp_path):
    """And a summary in the end; of what stages write nothing is lost."""
    checkout = Checkout(tmp_path / "project")
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "formats=cog", "checksums=ignore"]
    env = os.environ | {"PYTHONPATH": str(checkout.folder)}
    output = bytearray()
    with subprocess.Popen(command, cwd=checkout.folder, env=env, stdout=follower, stderr=follower) as process:
        os.close(follower)
        while True:
            try:
                output += os.read(leader, 65536)
            except OSError:
                break
    os.close(leader)
    assert process.returncode == 0
    text = output.decode()
    assert re.search(r"\nT18SVG 2016-01-12 S2A +\d+%(, \d+ s to go)?  [\w, ]+", text)
    terminal = Terminal()
    terminal.write(text)
    shown = "\n".join(terminal.rows)
    assert "no elevation model: flat terrain at 0 m" in shown
    assert "331 DU from the configuration" in shown
    assert "to go" not in shown
    assert re.search(rf"^{ONE} +[\d.]+% .*quality\.json$", shown, re.M)
