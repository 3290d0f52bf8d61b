"""Descriptions of array jobs for Kubernetes and AWS Batch: each product of a table in a container of its own.

A container needs nothing but the image (envs/Containerfile): it fetches its product, processes it on its own disk, and
uploads the result. So there is no file system that all share, and a product that fails stops no other.
"""

import argparse
import json
from typing import Any

from steps.core.errors import StepError
from steps.core.product_list import read_list

#: Variables that tell a container its number in the array.
KUBERNETES_INDEX = "JOB_COMPLETION_INDEX"
BATCH_INDEX = "AWS_BATCH_JOB_ARRAY_INDEX"
#: Where a container has room, and how much a full tile needs there: intermediate files, L1C and L2A product, bytes.
_ROOM = "/tmp"
_SCRATCH = 10 * 2**30
#: Exit code of an input or a setting that is wrong, which is not tried again, and how often anything else is.
_WRONG = 2
_RETRIES = 2
#: Jobs of an array that AWS Batch takes.
_LARGEST_ARRAY = 10_000
_JOB_SECONDS = 3600


def command(table: str, to: str, index: str, cores: int, options: list[str]) -> list[str]:
    """Return what a container is told: to process one product of a table, and to upload it."""
    upload = ["--set", f"upload.to={to}"]
    return ["run", table, "--only", index, "-o", f"{_ROOM}/l2a", "--cores", str(cores), *upload, *options]


def kubernetes_job(name: str, image: str, words: list[str], count: int, at_once: int, cores: int, secret: str) -> dict:
    """Return an indexed Job (batch/v1).

    Parameters
    ----------
    name
        Of the job.
    image
        Of the container.
    words
        See `command`.
    count
        Number of products.
    at_once
        Containers that run at a time.
    cores
        Processors of each.
    secret
        Name of the Secret whose entries become variables of the containers (`AWS_ACCESS_KEY_ID` ...).
    """
    sizes = {"memory": f"{_memory(cores) // 2**20}Mi", "ephemeral-storage": f"{_SCRATCH // 2**30}Gi"}
    container: dict[str, Any] = {
        "name": "tile",
        "image": image,
        "args": words,
        "envFrom": [{"secretRef": {"name": secret}}],
        "resources": {"requests": {"cpu": str(cores), **sizes}, "limits": sizes},
        "volumeMounts": [{"name": "scratch", "mountPath": _ROOM}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": f"{_SCRATCH // 2**30}Gi"}}],
    }
    rule = {"action": "FailIndex", "onExitCodes": {"containerName": "tile", "operator": "In", "values": [_WRONG]}}
    spec = {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": min(at_once, count),
        "backoffLimitPerIndex": _RETRIES,
        "maxFailedIndexes": count,
        "podFailurePolicy": {"rules": [rule]},
        "template": {"spec": pod},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def batch_job(
    name: str, image: str, words: list[str], count: int, cores: int, queue: str, role: str
) -> dict[str, dict]:
    """Return the arguments of `aws batch register-job-definition` and `submit-job`, by their names.

    Parameters
    ----------
    name, image, words, count, cores
        See `kubernetes_job`; how many run at a time the queue's computing environment tells.
    queue
        Name or ARN of the job queue.
    role
        ARN of the role by which containers reach the stores.

    Raises
    ------
    StepError
        If there are more products than an array may have.
    """
    if count > _LARGEST_ARRAY:
        raise StepError(f"{count} products: AWS Batch takes arrays of {_LARGEST_ARRAY}; split the table")
    needs = {"VCPU": str(cores), "MEMORY": str(_memory(cores) // 2**20)}
    container = {
        "image": image,
        "command": words,
        "jobRoleArn": role,
        "resourceRequirements": [{"type": kind, "value": value} for kind, value in needs.items()],
    }
    rules = [{"onExitCode": str(_WRONG), "action": "EXIT"}, {"onReason": "*", "action": "RETRY"}]
    definition = {
        "jobDefinitionName": name,
        "type": "container",
        "platformCapabilities": ["EC2"],
        "containerProperties": container,
        "retryStrategy": {"attempts": 1 + _RETRIES, "evaluateOnExit": rules},
        "timeout": {"attemptDurationSeconds": _JOB_SECONDS},
    }
    submission: dict[str, Any] = {"jobName": name, "jobQueue": queue, "jobDefinition": name}
    if count > 1:
        submission["arrayProperties"] = {"size": count}
    return {"register-job-definition": definition, "submit-job": submission}


def _memory(cores: int) -> int:
    """Return the bytes that the stages side by side on so many cores need, and a third more."""
    return (2500 + 300 * max(0, cores - 2)) * 2**20 * 4 // 3


def main(argv: list[str] | None = None) -> None:
    """Print a description as JSON, which kubectl and the AWS command line take."""
    parser = argparse.ArgumentParser(prog="python -m steps.command.arrays", description=__doc__)
    parser.add_argument("service", choices=["kubernetes", "batch"])
    parser.add_argument("table", help="address of the table, s3:// or https://, as containers read it")
    parser.add_argument("--to", required=True, help="address that products are uploaded to, s3://bucket/prefix")
    parser.add_argument("--image", required=True, help="the container image")
    parser.add_argument("--name", default="sen2flow", help="of the job (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="processors of a container (default: %(default)s)")
    parser.add_argument(
        "--at-once", type=int, default=100, help="kubernetes: containers at a time (default: %(default)s)"
    )
    parser.add_argument("--secret", default="sen2flow", help="kubernetes: Secret with AWS_ACCESS_KEY_ID ...")
    parser.add_argument("--queue", default="sen2flow", help="batch: job queue")
    parser.add_argument("--role", default="", help="batch: ARN of the role of the containers")
    given, options = parser.parse_known_args(argv)
    try:
        count = len(read_list(given.table))
        index = KUBERNETES_INDEX if given.service == "kubernetes" else BATCH_INDEX
        words = (given.table, given.to, index, given.cores, options)
        about = (given.name, given.image, command(*words), count)
        if given.service == "kubernetes":
            found: dict = kubernetes_job(*about, given.at_once, given.cores, given.secret)
        else:
            found = batch_job(*about, given.cores, given.queue, given.role)
    except StepError as error:
        parser.exit(2, f"ERROR: {error.line}\n")
    print(json.dumps(found, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
