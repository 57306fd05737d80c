"""``STORAGES["staticfiles"]`` over releases in a bucket, by django-storages."""

from __future__ import annotations

from noa_perf.cdn.storage import ReleaseMixin
from noa_perf.cdn.targets.base import Target
from noa_perf.cdn.targets.s3 import Bucket

try:
    from storages.backends.s3 import S3StaticStorage
except ImportError as error:
    raise ImportError("Releases on S3 need boto3 and django-storages: pip install noa-perf[s3].") from error


class ReleaseS3StaticStorage(ReleaseMixin, S3StaticStorage):  # type: ignore[misc]
    """Takes what django-storages' ``S3Storage`` takes: ``bucket_name``, ``location``, ``endpoint_url``, …"""

    def make_target(self) -> Target:
        """Return the bucket."""
        acl = {"ACL": self.default_acl} if self.default_acl else {}
        return Bucket(
            self.connection.meta.client, self.bucket_name, self.location, {**self.get_object_parameters(""), **acl}
        )
