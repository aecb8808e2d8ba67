"""Manifests: exact bytes, names that sort, damage that is noticed."""

import pytest

from parquedb.errors import CorruptionError
from parquedb.storage.log.manifest import (
    Manifest,
    Segment,
    checksum,
    decode_manifest,
    encode_manifest,
    manifest_key,
    object_epoch,
    object_key,
    verify_object,
)

FULL = Manifest(
    namespace="posts",
    incarnation=b"i" * 16,
    epoch=4,
    through=9,
    through_id=b"c" * 16,
    next_seq=12,
    log_time_us=5,
    fences=(1, 4),
    dead={"data/1-x.parquet": b"\x01"},
    tails=(Segment("tail/4-a", 1, 2, 3),),
    sessions={"floor": 0},
    request_ids=(Segment("dedupe/4-b", 4, 5, 6),),
    leases={"read_lease_s": 0.2},
)


def test_a_manifest_comes_back_as_it_was() -> None:
    assert decode_manifest("k", encode_manifest(FULL)) == FULL


@pytest.mark.parametrize("at", range(0, 300, 11))
def test_one_changed_or_missing_byte_is_noticed_and_named(at: int) -> None:
    data = encode_manifest(FULL)
    at %= len(data)
    for damaged in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at]):
        with pytest.raises(CorruptionError, match="posts/manifest/9"):
            decode_manifest("posts/manifest/9", damaged)


def test_later_manifests_sort_first_and_names_hold_the_epoch() -> None:
    assert manifest_key(10, 4, "b") < manifest_key(9, 7, "a")
    assert object_epoch(manifest_key(10, 4, "b")) == 4
    assert object_epoch(object_key("data", 12, "ab", ".parquet")) == 12
    for name in ("data/x", "manifest/0-y-z", "tail/-1"):
        with pytest.raises(CorruptionError, match="holds no epoch"):
            object_epoch(name)


def test_an_object_is_held_to_its_checksum() -> None:
    assert verify_object("k", b"abc", checksum(b"abc")) == b"abc"
    with pytest.raises(CorruptionError, match="tail/1"):
        verify_object("tail/1", b"abd", checksum(b"abc"))
