"""Stores for tests: one in the memory of the process, and an S3 server on this machine.

The server is that of the package moto, from the extra `s3-test`; where it is missing, its tests are
passed over. Its credentials are made up.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

BUCKET = "photographs"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server that holds `BUCKET`, for this process and those it starts."""
    pytest.importorskip("s3fs", reason="s3fs is not installed (extra s3-test)")
    server = pytest.importorskip("moto.server", reason="moto is not installed (extra s3-test)")
    import boto3

    server = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": address,
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield address
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def store(request) -> str:
    """The URL of an empty place in a store."""
    if request.param == "s3":
        request.getfixturevalue("s3_server")
    return f"{request.param}://{BUCKET}/{secrets.token_hex(4)}"


@pytest.fixture
def s3(s3_server) -> str:
    """The URL of an empty place on the S3 server."""
    return f"s3://{BUCKET}/{secrets.token_hex(4)}"
