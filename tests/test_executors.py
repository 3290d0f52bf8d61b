"""The profiles for Kubernetes and AWS Batch: their plugins talk to a stand-in, which runs what it is told to run."""

import csv
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from base64 import b64decode
from urllib.parse import parse_qs, urlsplit

import pytest
from checkout import ROOT, Checkout
from test_container import PROJECT
from test_remote import put, s3  # noqa: F401  (a fixture)

from steps import demo
from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT

pytestmark = pytest.mark.slow

IMAGE, ROLE = "host/sen2flow:1", "arn:aws:iam::1:role/x"
PIP = "install --target .snakemake/pip-deployments snakemake-storage-plugin-s3"
NAMES = [DEMO_PRODUCT, DEMO_PRODUCT.replace("T18SVG", "T18SVH")]
SETTINGS = "input=s3://eodata/table.csv upload='{to: s3://results/l2a}' formats=cog products=classification"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "%s"}}]
users: [{name: me, user: {token: x}}]
"""


class Service:
    """Answers the requests of a plugin, and runs each job in a folder of its own."""

    def __init__(self, folder, variables):
        self.folder, self.variables = folder, variables
        self.definitions, self.secret, self.processes = [], {}, {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                address = urlsplit(self.path)
                answer = outer.answer(self.command, address, json.loads(body or "{}"))
                # No container was started before, so there is no log of that.
                self.send_response(400 if "previous=True" in address.query else 200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def start(self, name, words, variables):
        """Start a job with nothing but its variables, and those that the image has."""
        workdir = self.folder / name
        workdir.mkdir()
        with (workdir / "messages.txt").open("w") as messages:
            streams = {"stdout": messages, "stderr": messages}
            self.processes[name] = subprocess.Popen(words, cwd=workdir, env=self.variables | variables, **streams)


class Kubernetes(Service):
    profile, options = "kubernetes", ""
    memory = ["3500M", "3500M", "7000M"]

    def answer(self, verb, address, body):
        *_, name, kind = address.path.split("/")
        if verb == "POST" and kind == "secrets":
            self.secret = {key: b64decode(value).decode() for key, value in body["data"].items()}
        if verb == "POST" and kind == "jobs":
            self.definitions.append(body)
            container = body["spec"]["template"]["spec"]["containers"][0]
            keys = {one["name"]: one["valueFrom"]["secretKeyRef"]["key"] for one in container["env"]}
            variables = {name: self.secret[key] for name, key in keys.items()}
            self.start(body["metadata"]["name"], container["command"] + container["args"], variables)
        if kind == "status":
            code = self.processes[name].poll()
            return {"status": {"active" if code is None else "failed" if code else "succeeded": 1}}
        if kind == "pods":
            name = parse_qs(address.query)["labelSelector"][0].removeprefix("job-name=")
            code = self.processes[name].poll()
            state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
            facts = {"image": "", "imageID": "", "ready": True, "restartCount": 0}
            status = {"containerStatuses": [{"name": "snakemake", "state": state} | facts]}
            return {"items": [{"metadata": {"name": name}, "status": status}]}
        return body

    @staticmethod
    def check(job):
        """Look at a Job, and return its memory."""
        from kubernetes import client

        api = client.ApiClient()
        answer = type("Answer", (), {"data": json.dumps(job)})
        # What the model does not know is lost on the way.
        assert api.sanitize_for_serialization(api.deserialize(answer, "V1Job")) == job
        container = job["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == IMAGE
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests == limits | {"cpu": "1900m"}
        assert (limits["cpu"], limits["ephemeral-storage"]) == ("2000m", "10000M")
        return limits["memory"]


class Batch(Service):
    profile, options = "aws_batch", f"--aws-batch-region us-east-1 --aws-batch-job-queue q --aws-batch-job-role {ROLE}"
    memory = ["4096", "4096", "8192"]

    def answer(self, verb, address, body):
        if address.path.endswith("/registerjobdefinition"):
            self.definitions.append(body)
            return {"jobDefinitionName": body["jobDefinitionName"], "jobDefinitionArn": "arn", "revision": 1}
        if address.path.endswith("/submitjob"):
            container = self.definitions[-1]["containerProperties"]
            variables = {one["name"]: one["value"] for one in container["environment"]}
            role = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}  # what it gives
            self.start(body["jobName"], container["command"], role | variables)
            return {"jobName": body["jobName"], "jobId": body["jobName"]}
        if address.path.endswith("/describejobs"):
            code = self.processes[body["jobs"][0]].poll()
            status = "RUNNING" if code is None else "FAILED" if code else "SUCCEEDED"
            return {"jobs": [{"jobId": body["jobs"][0], "status": status, "jobDefinition": "arn"}]}
        return {}

    @staticmethod
    def check(definition):
        """Look at a definition, which botocore has compared with the service's model, and return its memory."""
        assert definition["timeout"] == {"attemptDurationSeconds": 3600}
        container = definition["containerProperties"]
        assert (container["image"], container["jobRoleArn"]) == (IMAGE, ROLE)
        needs = {one["type"]: one["value"] for one in container["resourceRequirements"]}
        assert needs["VCPU"] == "2"
        return needs["MEMORY"]


@pytest.fixture(scope="module")
def store(s3, tmp_path_factory):  # noqa: F811
    """An object store with a table of two products, one of which is not there."""
    client, endpoint = s3
    safe = tmp_path_factory.mktemp("l1c") / f"{DEMO_PRODUCT}.SAFE"
    demo.run(safe, size=960)
    put(client, safe, f"L1C/{safe.name}")
    table = "".join(f"s3://eodata/L1C/{name}.SAFE\n" for name in NAMES)
    client.put_object(Bucket="eodata", Key="table.csv", Body=f"input\n{table}".encode())
    return client, endpoint


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A folder with the plugins, which would take a second of each start of Snakemake in all other tests."""
    folder, extras = tmp_path_factory.mktemp("plugins"), PROJECT["optional-dependencies"]
    words = ["--target", folder, "-c", ROOT / "envs/constraints.txt", *extras["kubernetes"], *extras["aws-batch"]]
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", *words], capture_output=True, text=True)
    if re.search("NewConnectionError|NameResolutionError|ConnectTimeout|Max retries", done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=[Kubernetes, Batch], ids=lambda one: one.profile)
def service(request, store, plugins, tmp_path, monkeypatch):
    """A service, the folder of a clone, and a function that runs Snakemake there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    install = f'[ "$*" = "{PIP}" ] && mkdir .snakemake && ln -s {plugins} .snakemake/pip-deployments'
    for name, command in {"python": f'{sys.executable} "$@"', "pip": install}.items():
        (programs / name).write_text(f"#!/bin/sh\n{command}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(sys, "path", [*sys.path, str(plugins)])
    kept = {name: os.environ[name] for name in ("SEN2FLOW_CACHE",) if name in os.environ}
    variables = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "AWS_ENDPOINT_URL_S3": store[1], **kept}
    service = request.param(tmp_path, variables)
    checkout = Checkout(tmp_path / "clone")
    checkout.bash("git init -q && git add .")
    (tmp_path / "kubeconfig").write_text(KUBECONFIG % service.address)
    for name, value in {
        "KUBECONFIG": tmp_path / "kubeconfig",
        "AWS_ENDPOINT_URL_BATCH": service.address,
        "AWS_ENDPOINT_URL_S3": store[1],
    }.items():
        monkeypatch.setenv(name, str(value))

    def snakemake(arguments="", settings=SETTINGS):
        return checkout.bash(
            f"PYTHONPATH=$PYTHONPATH:{plugins} python -m snakemake --profile workflow/profiles/{service.profile} "
            f"--default-storage-prefix s3://results/{service.profile} --container-image {IMAGE} --retries 1 "
            f"--seconds-between-status-checks 1 {service.options} {arguments} --config {settings}",
            check=False,
        )

    yield service, checkout.folder, snakemake
    service.server.shutdown()
    service.server.server_close()


def planned(done):
    """Return the number of products that a dry run would make."""
    assert done.returncode == 0, done.stderr
    return len(re.findall("^rule product:", done.stdout, re.M))


def test_products_are_made_by_jobs_of_their_own(service, store):
    service, folder, snakemake = service
    assert planned(snakemake("--dry-run")) == 2
    assert service.definitions == []
    done = snakemake()
    assert done.returncode == 1, done.stderr
    # One that fails is tried again with more memory, and stops no other.
    assert sorted(map(service.check, service.definitions)) == service.memory, done.stderr
    rows = list(csv.DictReader((folder / "results/table_summary.csv").open()))
    assert [row["status"] for row in rows] == ["done", "failed"], done.stderr
    assert f"{NAMES[1]}.SAFE: " in rows[1]["reason"]
    keys = [one["Key"] for one in store[0].list_objects_v2(Bucket="results")["Contents"]]
    assert f"l2a/{l2a_name(DEMO_PRODUCT)}/cog/item.json" in keys
    # The same command has the other one to do, and with another setting both.
    assert planned(snakemake("--dry-run")) == 1
    assert planned(snakemake("--dry-run", f"{SETTINGS} ozone=300")) == 2


@pytest.mark.parametrize("service", [Kubernetes], indirect=True)
def test_what_jobs_cannot_see_is_refused(service):
    *_, snakemake = service
    there = f"input=s3://eodata/L1C/{NAMES[0]}.SAFE"
    for arguments, settings, message in [
        ("-n", "input=demo upload='{to: s3://results}'", "no other machine sees it"),
        ("-n", there, "no other machine sees it"),
        ("-n --directory ..", f"{there} upload='{{to: s3://results}}'", "in the folder of one"),
    ]:
        done = snakemake(arguments, settings)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
