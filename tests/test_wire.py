"""What is written is what is read, for whatever can be written."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdafutures._wire import blob, codec, frames, keys, memory_file, outcome, remote_error, seal
from lambdafutures._wire.bundle import Bundle, check_part
from lambdafutures._wire.bundle import digest as bundle_digest
from lambdafutures._wire.frames import FrameReader
from lambdafutures._wire.invocation import Invocation
from lambdafutures._wire.journal import IDLE, SETUP, Journal
from lambdafutures._wire.outcome import Entry, Fault, Outcome
from lambdafutures._wire.payload import Payload, SessionHead
from lambdafutures.exceptions import WireError
from tests import calls

parts = st.lists(st.binary(max_size=300), max_size=5)
numbers = st.integers(0, 2**32 - 1)
texts = st.text(max_size=30)


# -------------------------------------------------------------------- codec


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | texts
        | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner) | st.tuples(inner, inner),
        max_leaves=20,
    )
)
def test_plain_values_come_back(value):
    assert codec.loads(codec.dumps(value).parts) == value


@pytest.mark.parametrize("serializer", codec.SERIALIZERS)
def test_what_plain_pickle_cannot_travels_by_value(serializer):
    offset = 10
    function = codec.loads(codec.dumps(lambda x: x + offset, serializer).parts)
    assert function(1) == 11


@pytest.mark.parametrize("size", [0, codec.OUT_OF_BAND_BYTES - 1, codec.OUT_OF_BAND_BYTES])
def test_large_buffers_go_out_of_band(size):
    import pickle

    value = bytearray(os.urandom(size))
    packed = codec.dumps(pickle.PickleBuffer(value))
    assert len(packed.buffers) == (size >= codec.OUT_OF_BAND_BYTES)
    assert packed.nbytes >= size
    assert bytes(codec.loads(packed.parts)) == value


def test_a_buffer_that_is_not_contiguous_stays_in_band():
    numpy = pytest.importorskip("numpy")
    value = numpy.arange(100_000)[::3]
    assert (codec.loads(codec.dumps(value).parts) == value).all()


def test_modules_registered_by_value_travel_by_value():
    import cloudpickle

    assert b"tests.calls" in codec.dumps(calls.identity).data
    assert len(codec.dumps(calls.identity).data) < 100
    cloudpickle.register_pickle_by_value(calls)
    try:
        assert len(codec.dumps(calls.identity).data) > 100
    finally:
        cloudpickle.unregister_pickle_by_value(calls)


# -------------------------------------------------------------------- blobs and keys


@given(parts, parts)
def test_a_blobs_hash_names_its_parts(one, other):
    assert (blob.digest(one) == blob.digest(other)) == (one == other)
    blob.check(one, blob.digest(one))
    with pytest.raises(WireError, match="overwritten"):
        blob.check(one, blob.digest([*one, b"more"]))


prefixes = st.text("abcXYZ019-_/", min_size=1, max_size=20)
sessions = st.from_regex(r"\A[A-Za-z0-9-]{1,64}\Z")


@given(prefixes, sessions, st.integers(0, 10**9 - 1), st.integers(0, 9999))
def test_keys_of_outcomes_are_parsed_as_they_were_built(prefix, session, chunk, attempt):
    key = keys.out_key(prefix, session, chunk, attempt)
    assert key.startswith(keys.out_prefix(prefix, session))
    assert keys.parse_out_keys([key]) == [(chunk, attempt)]


@given(st.lists(st.tuples(st.integers(0, 10**9 - 1), st.integers(0, 9999)), min_size=2, max_size=9))
def test_keys_sort_as_their_numbers_do(named):
    ordered = sorted(named)
    built = [keys.out_key("p", "s", *name) for name in ordered]
    assert built == sorted(built)


def test_keys_of_a_log_are_parsed_as_they_were_built():
    numbers = [0, 1, 999_999_999]
    assert keys.parse_log_keys(keys.log_key("p", "s1", number) for number in numbers) == numbers
    assert keys.log_key("p", "s1", 9) < keys.log_key("p", "s1", 10)
    others = ("p/sessions/s1/log/1", "p/sessions/s1/out/000000001/0001", "log")
    assert keys.parse_log_keys(others) == []
    with pytest.raises(ValueError, match="digits"):
        keys.log_key("p", "s1", 10**9)


def test_a_seal_holds_for_one_name_in_one_session():
    key = bytes(32)
    sealed = seal.seal_object(key, "s1", "log/1", b"body")
    assert seal.unseal_object(key, "s1", "log/1", sealed) == b"body"
    for name in (("s1", "log/2"), ("s2", "log/1"), ("s1", "head")):
        with pytest.raises(WireError, match="seal"):
            seal.unseal_object(key, *name, sealed)
    for damaged in (sealed[:-1], sealed + b"x", b"", bytes(32) + b"body"):
        with pytest.raises(WireError, match="seal"):
            seal.unseal_object(key, "s1", "log/1", damaged)
    outcome_of_1 = seal.seal(key, "s1", 1, 1, b"body")
    with pytest.raises(WireError, match="the outcome of attempt 2 at chunk 1"):
        seal.unseal(key, "s1", 1, 2, outcome_of_1)


@pytest.mark.parametrize("number", [-1, 10**9])
def test_a_number_that_does_not_fit_its_key_is_refused(number):
    with pytest.raises(ValueError, match="does not fit"):
        keys.in_key("p", "s", number)


def test_foreign_keys_are_passed_over():
    outcome_key = keys.out_key("p", "s", 12, 1)
    others = ["p/sessions/s/out/12/1", "p/sessions/s/out/", f"{outcome_key}/x", f"{outcome_key}\n"]
    assert keys.parse_out_keys([*others, outcome_key, outcome_key + "٣"]) == [(12, 1)]


def test_foreign_sessions_are_refused():
    with pytest.raises(ValueError, match="not a session id"):
        keys.session_prefix("p", "../other")
    assert keys.blob_key("p", "ab") == "p/blobs/ab"


# -------------------------------------------------------------------- payload and session


ranges = st.none() | st.lists(st.tuples(numbers, numbers), max_size=4)


@given(
    numbers,
    st.integers(1, 9999),
    st.from_regex(r"\A[0-9a-f]{64}\Z"),
    parts,
    ranges,
    st.booleans(),
    parts,
    st.none() | st.floats(min_value=0.001, max_value=1e6),
)
def test_payloads_come_back(
    chunk, attempt, function, arguments, ran, has_kwargs, function_parts, limit_s
):
    sent = Payload(chunk, attempt, function, arguments, ran, has_kwargs, function_parts, limit_s)
    head = sent.encode_head(with_function=True)
    found = Payload.decode(head, [*function_parts, *arguments])
    for name in Payload.__slots__:
        assert getattr(found, name) == getattr(sent, name), name
    bare = Payload.decode(sent.encode_head(with_function=False), arguments)
    assert (bare.function_parts, bare.arguments) == ([], arguments)


@given(texts, st.none() | parts.filter(bool), st.dictionaries(texts, texts), st.lists(texts))
def test_session_heads_come_back(session, initializer, environment, path):
    packed = codec.Pickled(initializer[0], initializer[1:]) if initializer else None
    sent = SessionHead(session, "3.12", "dill", packed, environment, path, 20, 2)
    found = SessionHead.decode(sent.encode())
    assert (found.initializer.parts if found.initializer else None) == initializer
    for name in set(SessionHead.__slots__) - {"initializer"}:
        assert getattr(found, name) == getattr(sent, name), name


def test_bundles_come_back():
    one = Bundle([("ab" * 32, 10), ("cd" * 32, 5)], 100)
    other = Bundle([("ef" * 32, 7)], 9, folder="/tmp/x")
    assert one.packed_bytes == 15
    head = SessionHead("s", "3.12", bundles=[one, other])
    found = SessionHead.decode(head.encode())
    assert (found.bundles, found.folders) == ((one, other), ["/tmp/x"])
    payload = Payload(1, 1, "f", [b"x"], bundles=[one, other])
    payload.fetched_bytes = 15
    read = Payload.decode(payload.encode_head(with_function=False), [b"x"])
    assert (read.folders, read.fetched_bytes) == (["/tmp/x"], 15)
    asked = Invocation(
        head, payload, bucket="b", prefix="p", reply="poll", out_key="o", key=b"k", deadline_s=1.0
    )
    told = Invocation.decode(json.loads(asked.encode()))
    assert told.payload.bundles == [one, other]
    assert [bundle.name for bundle in told.payload.bundles] == [one.name, other.name]
    assert told.payload.bundles[0].unpacked_bytes == 100


def test_a_damaged_part_of_a_bundle_is_refused():
    check_part(b"x", bundle_digest(b"x"))
    with pytest.raises(WireError, match="overwritten.*lambdafutures runtime remove --all"):
        check_part(b"y", bundle_digest(b"x"))


def test_another_version_is_refused_by_name():
    with pytest.raises(WireError, match="format 99 where this side speaks 1.*lambdafutures deploy"):
        SessionHead.decode([b'{"lambdafutures": 99}'])
    with pytest.raises(WireError, match="not a message of lambdafutures"):
        Payload.decode(b"{}", [])
    with pytest.raises(WireError, match="not a message of lambdafutures"):
        Payload.decode(b"\xff", [])


# -------------------------------------------------------------------- outcome


@st.composite
def outcomes(draw):
    entries = []
    first = 0
    for _ in range(draw(st.integers(0, 4))):
        status = draw(st.sampled_from([outcome.OK, outcome.RAISED]))
        count = draw(st.integers(1, 5)) if status == outcome.OK else 1
        error = None if status == outcome.OK else {"type": draw(texts), "message": draw(texts)}
        entries.append(Entry(first, count, status, draw(parts), error))
        first += count + draw(st.integers(0, 2))
    total = sum(entry.count for entry in entries)
    said = st.dictionaries(st.integers(0, 50), st.dictionaries(texts, texts), max_size=3)
    faults = st.builds(Fault, texts, texts, st.none() | st.integers(-1, 50))
    return Outcome(
        draw(numbers),
        draw(st.integers(1, 9999)),
        entries,
        received_s=draw(st.floats(0, 1e10)),
        is_first=draw(st.booleans()),
        setup_s=draw(st.floats(0, 1e3)),
        packing_s=draw(st.floats(0, 1e3)),
        run_s=array("f", draw(st.lists(st.floats(0, 1e3), min_size=total, max_size=total))),
        peak_memory_bytes=draw(st.integers(0, 2**63)),
        output=draw(said),
        fault=draw(st.none() | faults),
        fetched_bytes=draw(st.integers(0, 2**63)),
    )


@given(outcomes())
def test_outcomes_come_back(sent):
    head, sent_parts = sent.encode()
    found = Outcome.decode(head, sent_parts)
    for name in set(Outcome.__slots__) - {"entries", "fault", "_ran_s"}:
        assert getattr(found, name) == getattr(sent, name), name
    assert repr(found.fault) == repr(sent.fault)
    for one, other in zip(found.entries, sent.entries, strict=True):
        for name in Entry.__slots__:
            assert getattr(one, name) == getattr(other, name), name


@given(outcomes(), st.data())
def test_a_damaged_outcome_is_refused_or_read_but_never_crashes(sent, data):
    head, sent_parts = sent.encode()
    cut = data.draw(st.integers(0, len(head) - 1))
    try:
        Outcome.decode(head[:cut], sent_parts)
    except WireError:
        pass
    else:
        # Only the details, which are optional, may be missing unnoticed.
        assert head[cut : cut + 1] == b"{"


def test_outcomes_of_another_version_are_refused():
    head, _ = Outcome(1, 1).encode()
    with pytest.raises(WireError, match="an outcome of format 9 where this side reads 2"):
        Outcome.decode(head[:6] + b"\x09\x00" + head[8:], [])


# -------------------------------------------------------------------- frames


frame_lists = st.lists(st.tuples(st.integers(1, 5), st.binary(max_size=60), parts), max_size=4)


@given(frame_lists, st.integers(1, 50))
def test_frames_come_back_however_the_stream_is_cut(sent, piece):
    stream = b"".join(bytes(each) for frame in sent for each in frames.encode(*frame).pieces)
    reader = FrameReader()
    found = []
    for start in range(0, len(stream), piece):
        reader.feed(stream[start : start + piece])
        found += [(each.kind, each.head, list(each.parts)) for each in reader.frames()]
    assert found == [(kind, head, list(ps)) for kind, head, ps in sent]


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_parts_in_a_memory_file_come_back(sent):
    mapped = memory_file.MappedFile(memory_file.write_parts(sent))
    assert [bytes(mapped.part(len(part))) for part in sent] == sent
    with pytest.raises(ValueError, match="lacks its last part"):
        mapped.part(10_000)


def test_large_frames_cross_a_socket_in_memory_files():
    one, other = socket.socketpair()
    with one, other:
        big = os.urandom(frames.INLINE_BYTES)
        for sent in ([big, b"x"], [b"small"], [b"", big]):
            assert frames.send(one, frames.encode(frames.CHUNK, b"head", sent))
        reader = FrameReader()
        found = []
        while len(found) < 3:
            data, handles = frames.receive(other)
            reader.feed(data, handles)
            found += [[bytes(part) for part in each.parts] for each in reader.frames()]
        assert found == [[big, b"x"], [b"small"], [b"", big]]


def test_a_memory_file_is_copied_where_it_cannot_be_mapped():
    """The descriptors may be gone for another reason than our own mappings."""
    handle = memory_file.write_parts([b"x" * 5000])
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (handle + 20, files[1]))
    try:
        # As many as there can be: the lowest that is free may lie far below the limit.
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.dup(handle))
        part = memory_file.MappedFile(handle).part(5000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        for each in spare:
            os.close(each)
    assert bytes(part) == b"x" * 5000


def test_a_part_in_a_memory_file_is_writable_and_private():
    encoded = frames.encode(frames.CHUNK, b"", [bytearray(frames.INLINE_BYTES)])
    copy = os.dup(encoded.handle)
    frame = frames.parse(encoded.pieces[0], [encoded.handle])
    frame.parts[0][0] = 7
    again = frames.parse(encoded.pieces[0], [copy])
    assert again.parts[0][0] == 0


def test_frames_may_be_taken_one_by_one():
    reader = FrameReader()
    reader.feed(b"".join(bytes(each) for n in (1, 2) for each in frames.encode(n, b"").pieces))
    assert [next(reader.frames()).kind, next(reader.frames()).kind] == [1, 2]
    assert next(reader.frames(), None) is None


def test_a_damaged_stream_is_refused():
    with pytest.raises(WireError, match="the stream is damaged"):
        frames.parse(b"x" * 40)
    with pytest.raises(WireError, match="truncated frame"):
        frames.parse(b"".join(map(bytes, frames.encode(1, b"head", [b"part"]).pieces))[:-1])
    encoded = frames.encode(frames.CHUNK, b"", [bytes(frames.INLINE_BYTES)])
    with pytest.raises(WireError, match="did not arrive"):
        frames.parse(encoded.pieces[0])
    encoded.close()


# -------------------------------------------------------------------- journal


@given(st.lists(outcomes(), max_size=3))
def test_the_journal_tells_what_ran_and_what_had_ended(kept):
    journal = Journal()
    reader = Journal(os.dup(journal.handle))
    assert reader.running(7, 1)[0] == IDLE
    journal.begin(7, 1)
    assert reader.running(7, 1)[0] == SETUP
    assert reader.running(7, 2)[0] == IDLE
    for number, each in enumerate(kept):
        journal.mark(number, 1.0)
        journal.append(each)
        assert reader.running(7, 1)[0] == number
    found = reader.outcomes()
    assert [each.encode() for each in found] == [each.encode() for each in kept]
    journal.begin(8, 1)
    assert reader.outcomes() == []
    journal.close()
    reader.close()


# -------------------------------------------------------------------- exceptions


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1),
        KeyError("k"),
        calls.NeedsTwo(1, "t"),
        SystemExit(3),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "r"),
    ],
)
def test_exceptions_come_back(error):
    error.add_note("by the way")
    found = remote_error.unpack(remote_error.pack(error, "cloudpickle"))
    assert type(found) is type(error)
    assert (found.args, str(found), found.__notes__) == (error.args, str(error), ["by the way"])


def test_an_exception_that_cannot_travel_is_packed_as_nothing():
    assert remote_error.pack(ValueError(calls.lock()), "cloudpickle") == ()


def test_a_broken_exception_is_described_all_the_same():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError("no")

    described = remote_error.describe(Broken())
    assert described["message"] == "<its __str__ raised RuntimeError>"
    assert described["mro"][1:] == ["builtins.Exception", "builtins.BaseException"]


def test_what_is_no_exception_is_not_raised():
    with pytest.raises(TypeError, match="an exception was expected, not int"):
        remote_error.unpack(codec.dumps(3).parts)


def test_a_head_that_was_read_says_where_its_bundles_are_once_they_are_unpacked():
    bundle = Bundle([("ab" * 32, 10)], 100)
    head = SessionHead.decode(SessionHead("s", "3.11", bundles=[bundle]).encode())
    assert head.folders == []
    head.place_bundles({bundle.name: "/tmp/there"})
    assert SessionHead.decode(head.encode()).folders == ["/tmp/there"]
