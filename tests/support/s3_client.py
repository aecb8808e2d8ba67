"""What only an operator does to a bucket."""

import botocore.session

from tests.support.s3_servers import S3Server


def replaced(server: S3Server, key: str, data: bytes) -> None:
    """Put other bytes in the place of an object."""
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
    )
    client.put_object(Bucket=server.bucket, Key=key, Body=data)
