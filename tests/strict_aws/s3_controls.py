"""What a test does with S3 behind the clients' backs."""

from .fake_thread import FakeThread
from .s3_model import Bucket, Upload


class S3Controls(FakeThread):
    """Buckets and objects, without requests."""

    def create_bucket(self, name: str, region: str | None = None) -> None:
        """Make a bucket without a request.

        Args:
            name: Its name.
            region: Its region, that of the fake by default.
        """
        bucket = Bucket(name, region or self.region)
        self.call(lambda: self.s3.buckets.__setitem__(name, bucket))

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket with all that is in it, without a request.

        Args:
            name: Its name.
        """
        self.call(lambda: self.s3.buckets.pop(name))

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Return all objects of a bucket, in order of their keys.

        Args:
            bucket: Its name.
        """
        return self.call(
            lambda: {
                key: each.body for key, each in sorted(self.s3.buckets[bucket].objects.items())
            }
        )

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object without a request, as somebody else would.

        Args:
            bucket: The bucket's name.
            key: The key.
            body: The bytes.
        """
        self.call(lambda: self.s3.put(bucket, key, body))

    def delete_object(self, bucket: str, key: str) -> None:
        """Remove an object without a request.

        Args:
            bucket: The bucket's name.
            key: The key.
        """
        self.call(lambda: self.s3.buckets[bucket].delete(key))

    def uploads(self, bucket: str) -> list[Upload]:
        """Return the unfinished multipart uploads of a bucket.

        Args:
            bucket: Its name.
        """
        return self.call(lambda: list(self.s3.buckets[bucket].uploads.values()))
