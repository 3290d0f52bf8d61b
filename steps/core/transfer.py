"""Files at an address, `s3://bucket/key` or `https://host/path`: fetched and put whole, or not at all.

A file that is fetched appears under its name when all of it is there and right. What a broken transfer leaves lies
beside it, and the next one, also that of another process, goes on from there if the remote file is still the same.
"""

import contextlib
import functools
import glob
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from steps.core.errors import StepError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

#: Times that a transfer is tried, and seconds before it is tried again, twice as many each time.
ATTEMPTS = 5
WAIT = 1.0
#: Seconds until a server has to answer, and to send something.
_CONNECT = 20
_READ = 60
#: Bytes read at a time, which is what a broken transfer loses at most.
_PIECE = 2**16
#: Variable with a token (Bearer) for addresses with `https://`; without it `~/.netrc` counts.
TOKEN = "SEN2FLOW_HTTPS_TOKEN"
_ADDRESS = re.compile(r"(s3|https?)://[^/\s]+/?.*", re.DOTALL)
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_GONE = ("404", "NoSuchKey", "NoSuchBucket", "NotFound")
_REFUSED = ("401", "403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Unauthorized")


class _Again(Exception):
    """A transfer that is worth being tried again."""


class Missing(StepError):
    """There is no such file."""


@dataclass(frozen=True)
class _Body:
    """What a server sends of a file: its size, what tells its version and content, and the bytes from `start` on."""

    size: int | None
    version: str
    md5: str | None
    start: int
    pieces: Iterator[bytes]


def is_address(text: str) -> bool:
    """Tell whether a text is an address and no path."""
    return _ADDRESS.fullmatch(text) is not None


@dataclass(frozen=True)
class Store:
    """Access to addresses.

    Attributes
    ----------
    endpoint
        Of the object store, `https://eodata.dataspace.copernicus.eu`; None: that of the variable `AWS_ENDPOINT_URL_S3`,
        of the profile, or AWS itself.
    profile
        Name of the profile in `~/.aws` whose credentials and settings count; None: that of the environment. Without
        any credentials requests are anonymous.
    requester_pays
        Whether the caller pays, as buckets such as `sentinel-s2-l1c` want it.
    """

    endpoint: str | None = None
    profile: str | None = None
    requester_pays: bool = False

    def sizes(self, address: str) -> dict[str, int]:
        """Return the size in bytes of each object below a prefix, by its path from there.

        Raises
        ------
        StepError
            If the store cannot be reached or refuses.
        """
        bucket, prefix = _bucket_and_key(address.rstrip("/") + "/")
        found: dict[str, int] = {}

        def look() -> None:
            with _told_of_s3(address):
                pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **self._payer)
                for page in pages:
                    found.update({one["Key"].removeprefix(prefix): one["Size"] for one in page.get("Contents", ())})

        _tried(address, look)
        return {name: size for name, size in found.items() if name and not name.endswith("/")}

    def read(self, address: str) -> bytes:
        """Return the content of a small file; errors as of `fetch`."""

        def read() -> bytes:
            with self._body(address) as body:
                return b"".join(body.pieces)

        return _tried(address, read)

    def fetch(self, address: str, path: Path, check: Callable[[Path], None] = lambda path: None) -> None:
        """Fetch a file, unless it is there.

        Parameters
        ----------
        address
            Where it is.
        path
            File to write.
        check
            Raises `StepError` at a file that is damaged; it is then fetched anew.

        Raises
        ------
        StepError
            `Missing` if there is no such file; if the server refuses or cannot be reached, or what it sends is damaged
            each time.
        """
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)

        def fetch() -> None:
            part = self._part(address, path)
            try:
                check(part)
            except StepError as error:
                part.unlink()
                raise _Again(error.line) from error
            part.replace(path)

        _tried(address, fetch)

    def put(self, path: Path, address: str) -> None:
        """Put a file into an object store, and look whether all of it is there.

        Raises
        ------
        StepError
            If the store refuses or cannot be reached, or has something else then.
        """
        bucket, key = _bucket_and_key(address)

        def put() -> None:
            with _told_of_s3(address):
                self._s3.upload_file(str(path), bucket, key)
                size = self._s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
            if size != path.stat().st_size:
                raise _Again(f"has {size} bytes after {path.stat().st_size} were sent")

        _tried(address, put)

    def _part(self, address: str, path: Path) -> Path:
        """Return a file with all of the remote one, begun or completed; raise `_Again` if the transfer breaks."""
        with self._body(address) as body:
            version = hashlib.sha256(f"{body.version} {body.size}".encode()).hexdigest()[:16]
            part = path.with_name(f".{path.name}.{version}.part")
            for other in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
                if other != part:
                    other.unlink()
            done = part.stat().st_size if part.exists() else 0
            whole = body.size is not None and done == body.size
            if not done:
                _append(part, body.pieces)
        if done and not whole:
            with self._body(address, done) as rest:
                if rest.start != done or (rest.version, rest.size) != (body.version, body.size):
                    part.unlink()
                    done = rest.start
                if rest.start == done:
                    _append(part, rest.pieces)
        size = part.stat().st_size if part.exists() else 0
        if body.size is not None and size < body.size:
            raise _Again(f"ended after {size} of {body.size} bytes")
        if body.md5 and _md5(part) != body.md5:
            part.unlink()
            raise _Again("what came is not what was sent, by its MD5")
        return part

    def _body(self, address: str, start: int = 0) -> contextlib.AbstractContextManager[_Body]:
        if address.startswith("s3://"):
            return self._s3_body(address, start)
        return _https_body(address, start)

    @contextlib.contextmanager
    def _s3_body(self, address: str, start: int) -> Iterator[_Body]:
        bucket, key = _bucket_and_key(address)
        with _told_of_s3(address):
            more = {"Range": f"bytes={start}-"} if start else {}
            found = self._s3.get_object(Bucket=bucket, Key=key, **more, **self._payer)
            tag = found["ETag"].strip('"')
            plain = _MD5.fullmatch(tag) and found.get("ServerSideEncryption") in (None, "AES256")
            with contextlib.closing(found["Body"]) as stream:
                size = start + found["ContentLength"]
                yield _Body(size, tag, tag if plain else None, start, stream.iter_chunks(_PIECE))

    @property
    def _payer(self) -> dict[str, str]:
        return {"RequestPayer": "requester"} if self.requester_pays else {}

    @functools.cached_property
    def _s3(self):
        """The client of the object store; it repeats requests that fail, and verifies checksums that it is sent."""
        try:
            import boto3
            import botocore
        except ImportError as error:
            raise StepError(f"addresses s3:// need boto3 ({error}); pip install 'sen2flow[remote]'") from error
        logging.getLogger("botocore").setLevel(logging.WARNING)
        try:
            session = boto3.session.Session(profile_name=self.profile)
            unsigned = botocore.UNSIGNED if session.get_credentials() is None else None
            # Stores other than AWS's have no host for each bucket.
            named = self.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            config = botocore.config.Config(
                signature_version=unsigned,
                connect_timeout=_CONNECT,
                read_timeout=_READ,
                retries={"mode": "standard", "max_attempts": ATTEMPTS},
                s3={"addressing_style": "path" if named else "auto"},
            )
            region = session.region_name or "us-east-1"
            return session.client("s3", endpoint_url=self.endpoint, config=config, region_name=region)
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise StepError(f"object store: {error}; correct the endpoint, or the profile in ~/.aws") from error


def _tried(address: str, call: Callable[[], Result]) -> Result:
    """Return what a call returns, which is repeated with ever longer pauses if it raises `_Again`."""
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except _Again as error:
            last = error
            if attempt < ATTEMPTS - 1:
                logger.info("%s: %s; once more", address, error)
                time.sleep(WAIT * 2**attempt)
    raise StepError(
        f"{address}: {last} (tried {ATTEMPTS} times); look at the connection and give the same command again, which "
        "goes on from there"
    )


def _append(part: Path, pieces: Iterator[bytes]) -> None:
    with part.open("ab") as file:
        for piece in pieces:
            file.write(piece)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, functools.partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _bucket_and_key(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


@contextlib.contextmanager
def _told_of_s3(address: str) -> Iterator[None]:
    """Turn what boto3 raises into a `StepError`, or into `_Again` where it may pass."""
    import boto3.exceptions
    import botocore.exceptions as errors

    try:
        yield
    except errors.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        _refuse(address, code, status, error)
    except boto3.exceptions.S3UploadFailedError as error:
        found = re.search(r"\((\w+)\) when calling", str(error))
        _refuse(address, found[1] if found else "", "", error)
    except (errors.NoCredentialsError, errors.ParamValidationError) as error:
        raise StepError(f"{address}: {error}; correct the address, or set AWS_PROFILE or AWS_ACCESS_KEY_ID") from error
    except errors.BotoCoreError as error:
        raise _Again(str(error)) from error


def _refuse(address: str, code: str, status: str, error: Exception) -> NoReturn:
    if code in _GONE or status == "404":
        raise Missing(f"{address}: there is no such file or bucket; correct the address") from error
    if code in _REFUSED or status in _REFUSED:
        raise StepError(
            f"{address}: the server refuses access ({code or status}); give credentials that may read and write there"
        ) from error
    raise _Again(f"the server says {code or status or error}") from error


@contextlib.contextmanager
def _https_body(address: str, start: int) -> Iterator[_Body]:
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    if token := os.environ.get(TOKEN):
        headers["Authorization"] = f"Bearer {token}"
    try:
        with requests.get(address.partition("#")[0], headers=headers, stream=True, timeout=(_CONNECT, _READ)) as answer:
            if answer.status_code >= 400:
                status = str(answer.status_code)
                _refuse(address, "", status, requests.HTTPError(status))
            begin = start if answer.status_code == 206 else 0
            length = answer.headers.get("Content-Length")
            tag = answer.headers.get("ETag", "").strip('"')
            plain = _MD5.fullmatch(tag) and any(name.lower().startswith("x-amz-") for name in answer.headers)
            version = tag or answer.headers.get("Last-Modified", "")
            size = begin + int(length) if length else None
            yield _Body(size, version, tag if plain else None, begin, answer.iter_content(_PIECE))
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
        raise StepError(f"{address}: {error}; correct the address") from error
    except requests.RequestException as error:
        raise _Again(str(error)) from error
