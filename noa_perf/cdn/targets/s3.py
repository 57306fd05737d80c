"""A bucket of S3, or of what speaks as it does, through boto3."""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as aws

from noa_perf.cdn.exceptions import TargetError
from noa_perf.cdn.targets.base import IMMUTABLE, Moved, Stored, Target, Upload

_BATCH = 1_000
"""Keys that DeleteObjects takes."""

_CURES = {
    "NoSuchBucket": "There is no such bucket: see bucket_name, region_name and endpoint_url.",
    "AccessDenied": "It is denied: the role needs s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject.",
    "InvalidAccessKeyId": "The access key is unknown there.",
    "SignatureDoesNotMatch": "The secret key is another one.",
    "SlowDown": "It asks for fewer requests, and went on to do so: lower WORKERS, or wait and run this again.",
    "PermanentRedirect": "The bucket is in another region: see region_name.",
}


class Bucket(Target):
    """Objects below a prefix. One is there whole or not at all, and S3 compares what came with its MD5."""

    def __init__(self, client: Any, bucket: str, prefix: str = "", parameters: Mapping[str, Any] | None = None) -> None:
        """Publish through a boto3 ``client``; ``parameters`` go with each PutObject (an ACL, encryption)."""
        self._client = client
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._parameters = dict(parameters or {})
        self.where = f"s3://{posixpath.join(bucket, self._prefix)}"

    def listing(self) -> dict[str, Stored]:
        """Return all objects, a thousand by request."""
        found = {}
        prefix = f"{self._prefix}/" if self._prefix else ""
        with self._told("listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            for page in pages:
                for each in page.get("Contents", ()):
                    md5 = each["ETag"].strip('"')
                    # With a dash it is the hash of hashes of an upload in parts.
                    stored = Stored(each["Size"], "" if "-" in md5 else md5, each["LastModified"].timestamp())
                    found[each["Key"][len(prefix) :]] = stored
        return found

    def upload(self, file: Upload) -> None:
        """Put one object, with the headers that edges and browsers get."""
        headers = {"ContentEncoding": file.encoding} if file.encoding else {}
        data = file.read()
        with self._told(f"written ({file.name})"):
            self._put(
                file.name, data, bytes.fromhex(file.md5),
                ContentType=file.type, CacheControl=IMMUTABLE, **headers,
            )  # fmt: skip

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a small object and its ETag."""
        with self._told(f"read ({name})"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            except aws.ClientError as error:
                if _code(error) in {"NoSuchKey", "404"}:
                    return None
                raise
            return answer["Body"].read(), answer["ETag"]

    def write(self, name: str, data: bytes) -> None:
        """Write a small object."""
        with self._told(f"written ({name})"):
            self._put_json(name, data)

    def replace(self, name: str, data: bytes, token: str) -> None:
        """Write a small object by a conditional PUT (since 2024 S3 knows ``If-Match``)."""
        condition = {"IfMatch": token} if token else {"IfNoneMatch": "*"}
        with self._told(f"written ({name})"):
            try:
                self._put_json(name, data, **condition)
            except aws.ClientError as error:
                if _code(error) in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                    raise Moved(name) from error
                raise

    def delete(self, names: Collection[str]) -> None:
        """Delete objects, a thousand by request."""
        keys = [{"Key": self._key(name)} for name in names]
        with self._told("deleted from"):
            for start in range(0, len(keys), _BATCH):
                batch = {"Objects": keys[start : start + _BATCH], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=batch)
                if errors := answer.get("Errors"):
                    first = f"{errors[0].get('Key')}: {errors[0].get('Code')}"
                    raise TargetError(f"{len(errors)} objects of {self.where} were not deleted ({first}).")

    def settle(self) -> None:
        """S3 answers a PUT once it is safe."""

    def _put_json(self, name: str, data: bytes, **more: Any) -> None:
        self._put(name, data, None, ContentType="application/json", CacheControl="no-cache", **more)

    def _put(self, name: str, data: bytes, md5: bytes | None, **more: Any) -> None:
        check = {"ContentMD5": base64.b64encode(md5).decode()} if md5 else {}
        parameters = {**self._parameters, **check, **more}
        self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=data, **parameters)

    def _key(self, name: str) -> str:
        return posixpath.join(self._prefix, name)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except aws.ClientError as error:
            code = _code(error)
            cure = _CURES.get(code, str(error.response.get("Error", {}).get("Message", "")))
            raise TargetError(f"{self.where} cannot be {what}: {code}. {cure}") from error
        except (aws.BotoCoreError, aws.HTTPClientError, OSError) as error:
            raise TargetError(
                f"{self.where} cannot be {what} ({type(error).__name__}: {error}). See the network, endpoint_url and "
                "the credentials; nothing half-done is live, and running this again goes on."
            ) from error


def _code(error: aws.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
