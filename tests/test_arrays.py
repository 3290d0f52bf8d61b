"""Array jobs for Kubernetes and AWS Batch: descriptions by the services' own models, and what a container does."""

import json
import os

import pytest
from test_command import started  # noqa: F401  (a fixture)

from steps.command import arrays
from steps.core.errors import StepError

TABLE = "s3://bucket/table.csv"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("input\ns3://eodata/S2A_MSIL1C_a.SAFE\ns3://eodata/S2A_MSIL1C_b.SAFE\ns3://eodata/c.SAFE\n")
    return path


def described(capsys, *words):
    arrays.main([str(word) for word in words])
    return json.loads(capsys.readouterr().out)


def test_kubernetes(table, capsys):
    options = ["--to", "s3://l2a/x", "--image", "host/sen2flow:1", "--cores", 4, "--formats", "cog"]
    job = described(capsys, "kubernetes", table, *options)
    spec = job["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (3, 3, "Indexed")
    container = spec["template"]["spec"]["containers"][0]
    assert container["args"][:4] == ["run", str(table), "--only", "JOB_COMPLETION_INDEX"]
    assert container["args"][-4:] == ["--set", "upload.to=s3://l2a/x", "--formats", "cog"]
    assert container["args"][container["args"].index("--cores") + 1] == container["resources"]["requests"]["cpu"] == "4"
    kubernetes = pytest.importorskip(
        "kubernetes.client", reason="needs the package kubernetes, whose model it is held to"
    )
    client, text = kubernetes.ApiClient(), json.dumps(job)
    try:
        read = client.deserialize(text, "V1Job", "application/json")
    except TypeError:  # before version 37
        read = client.deserialize(type("Answer", (), {"data": text}), "V1Job")
    # What the model does not know is lost on the way.
    assert client.sanitize_for_serialization(read) == job


def test_batch(table, capsys):
    session, validate = pytest.importorskip("botocore.session"), pytest.importorskip("botocore.validate")
    model = session.get_session().get_service_model("batch")
    role = "arn:aws:iam::1:role/x"
    found = described(capsys, "batch", table, "--to", "s3://l2a", "--image", "i", "--queue", "q", "--role", role)
    for operation, words in (("RegisterJobDefinition", "register-job-definition"), ("SubmitJob", "submit-job")):
        report = validate.ParamValidator().validate(found[words], model.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
    assert found["submit-job"]["arrayProperties"] == {"size": 3}
    container = found["register-job-definition"]["containerProperties"]
    assert "AWS_BATCH_JOB_ARRAY_INDEX" in container["command"]
    with pytest.raises(StepError, match="split the table"):
        arrays.batch_job("n", "i", [], 10_001, 2, "q", role)


def test_a_container_takes_its_product_of_the_table(started, table, monkeypatch):  # noqa: F811
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "1")
    words = arrays.command(str(table), "s3://l2a", "AWS_BATCH_JOB_ARRAY_INDEX", 2, ["--formats", "cog"])
    words[words.index("-o") + 1] = "out"
    _, command, settings = started(*words)
    assert settings["input"] == "s3://eodata/S2A_MSIL1C_b.SAFE"
    assert settings["upload"]["to"] == "s3://l2a"
    assert settings["formats"] == ["cog"]
    assert command[command.index("--cores") + 1] == "2"
    assert started("run", table, "-o", "out", "--only", "2")[2]["input"].endswith("c.SAFE")


@pytest.mark.parametrize("number", ["3", "-1", "NO_SUCH_VARIABLE"])
def test_numbers_that_the_table_has_not(started, table, capsys, number):  # noqa: F811
    os.environ.pop("NO_SUCH_VARIABLE", None)
    assert started("run", table, "-o", "out", f"--only={number}")[0] == 2
    assert "no number from 0 to 2" in capsys.readouterr().err


def test_a_table_at_an_address(started, table, monkeypatch):  # noqa: F811
    monkeypatch.setattr("steps.core.product_list.Store.read", lambda self, address: table.read_bytes())
    assert started("run", TABLE, "-o", "out", "--only", "0")[2]["input"].endswith("a.SAFE")
