"""Talks to a running forebay as an application does, with one of the two official Python clients.

Usage: conversation.py PROGRAM PACKAGE, where PACKAGE is kurrentdbclient or esdbclient.
Everything is said twice: in clear text, where nobody is asked who they are, and over TLS to a server that asks.
Prints one line for each part that passed; any failure ends it with a traceback and status 1.
"""

import importlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from uuid import uuid4

PROGRAM, PACKAGE = sys.argv[1:]
CLIENTS = importlib.import_module(PACKAGE)
FAULTS = importlib.import_module(PACKAGE + ".exceptions")
CLIENT = {"kurrentdbclient": "KurrentDBClient", "esdbclient": "EventStoreDBClient"}[PACKAGE]
NewEvent, StreamState, Checkpoint, CaughtUp = (
    CLIENTS.NewEvent,
    CLIENTS.StreamState,
    CLIENTS.Checkpoint,
    CLIENTS.CaughtUp,
)
APPEND_SIZE_MAX = 1 << 20
START_LIMIT_SECONDS = 60
# Of both first users, where they need one.
PASSWORD = "root-pw"


class Server:
    """The real program, with an empty directory of its own; over TLS with certificates of its own making."""

    def __init__(self, folder, is_tls):
        self.data = os.path.join(folder, "data")
        self.certificates = os.path.join(folder, "certificates")
        self.is_tls = is_tls
        if is_tls:
            command = [PROGRAM, "certificates", "dev", "--out", self.certificates]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def ca(self):
        return os.path.join(self.certificates, "ca.pem")

    def uri(self, scheme, who=f"admin:{PASSWORD}"):
        tls = f"tls=true&tlsVerifyCert=true&tlsCaFile={self.ca}" if self.is_tls else "tls=false"
        return f"{scheme}://{who}@localhost:{self.port}?{tls}"

    def start(self):
        command = [PROGRAM, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
        trust = None
        if self.is_tls:
            command += ["--tls-certificate", os.path.join(self.certificates, "server.pem")]
            command += ["--tls-key", os.path.join(self.certificates, "server.key")]
            trust = ssl.create_default_context(cafile=self.ca)
        live = f"{'https' if self.is_tls else 'http'}://127.0.0.1:{self.port}/health/live"
        limits = {
            "FOREBAY_LIMITS_APPEND_BYTES": str(APPEND_SIZE_MAX),
            "FOREBAY_ADMIN_PASSWORD": PASSWORD,
            "FOREBAY_OPS_PASSWORD": PASSWORD,
        }
        self.process = subprocess.Popen(command, env={**os.environ, **limits}, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_LIMIT_SECONDS
        while time.monotonic() < until:
            assert self.process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(live, context=trust).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the server did not start in time")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(START_LIMIT_SECONDS) == 0, "the server did not stop cleanly"


def fault(name):
    """A class of error; the newer package adds a word to the names of the older one."""
    return getattr(FAULTS, name + "Error", None) or getattr(FAULTS, name)


def refused(expected, call):
    """Expects the client's own class of error, and hands it back."""
    try:
        outcome = call()
        if hasattr(outcome, "__next__"):
            next(outcome)
    except expected as error:
        return error
    raise AssertionError(f"expected {expected}")


def events(count, event_type="Counted"):
    return [NewEvent(type=event_type, data=b'{"n":%d}' % n, metadata=b'{"by":"me"}') for n in range(count)]


def fresh(name):
    return f"{name}-{uuid4()}"


def fresh_database(client, server):
    first = next(iter(client.read_all(filter_exclude=())))
    assert first.type.startswith("$"), first
    users = client.get_stream("$users")
    assert [user.data for user in users] == [b"admin", b"ops"], users
    assert client.get_commit_position() == 0


def append_and_read(client, server):
    stream, written = fresh("größe-✓"), events(5)
    position = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=written)
    read = client.get_stream(stream)
    assert [(event.id, event.type, event.data, event.metadata) for event in read] == [
        (event.id, event.type, event.data, event.metadata) for event in written
    ]
    assert [event.stream_position for event in read] == [0, 1, 2, 3, 4]
    assert read[-1].commit_position == position
    assert [event.stream_position for event in client.get_stream(stream, backwards=True, limit=2)] == [4, 3]
    assert [event.stream_position for event in client.get_stream(stream, stream_position=3)] == [3, 4]
    assert [event.stream_position for event in client.get_stream(stream, stream_position=2, backwards=True)] == [2, 1, 0]
    assert client.get_current_version(stream) == 4
    blob = NewEvent(type="Blob", data=bytes(range(256)), content_type="application/octet-stream")
    client.append_event(stream, current_version=4, event=blob)
    read = client.get_stream(stream, backwards=True, limit=1)[0]
    assert (read.data, read.content_type) == (blob.data, "application/octet-stream")
    refused(fault("NotFound"), lambda: client.get_stream(fresh("none")))
    assert client.get_current_version(fresh("none")) is StreamState.NO_STREAM


def expected_revisions(client, server):
    stream, written = fresh("expected"), events(3)
    wrong = fault("WrongCurrentVersion")
    refused(wrong, lambda: client.append_event(stream, current_version=StreamState.EXISTS, event=written[0]))
    refused(wrong, lambda: client.append_event(stream, current_version=1, event=written[0]))
    first = client.append_event(stream, current_version=StreamState.NO_STREAM, event=written[0])
    second = client.append_to_stream(stream, current_version=0, events=written[1:])
    assert second > first
    for state in [StreamState.ANY, StreamState.EXISTS, StreamState.NO_STREAM]:
        assert client.append_event(stream, current_version=state, event=written[0]) == first, state
    assert client.append_to_stream(stream, current_version=0, events=written[1:]) == second
    refused(wrong, lambda: client.append_to_stream(stream, current_version=0, events=[written[1], *events(1)]))
    refused(wrong, lambda: client.append_to_stream(stream, current_version=5, events=events(1)))
    refused(wrong, lambda: client.append_event(stream, current_version=1, event=events(1)[0]))
    assert len(client.get_stream(stream)) == 3


def limits(client, server):
    stream, large = fresh("large"), NewEvent(type="Large", data=b"x" * (APPEND_SIZE_MAX + 1))
    refused(Exception, lambda: client.append_event(stream, current_version=StreamState.ANY, event=large))
    too_large = fault("MaximumAppendSizeExceeded")
    refused(too_large, lambda: client.append_to_stream(stream, current_version=StreamState.ANY, events=[large]))
    most = NewEvent(type="Large", data=b"x" * (APPEND_SIZE_MAX - 100))
    client.append_event(stream, current_version=StreamState.NO_STREAM, event=most)
    assert client.get_stream(stream)[0].data == most.data
    many = [NewEvent(type="Many", data=b"{}") for _ in range(30_000)]
    late = fault("DeadlineExceeded")
    refused(late, lambda: client.append_to_stream(stream, current_version=0, events=many, timeout=0.001))


def deletes(client, server):
    stream = fresh("deleted")
    refused(fault("NotFound"), lambda: client.delete_stream(stream, current_version=StreamState.ANY))
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(3))
    client.delete_stream(stream, current_version=2)
    client.delete_stream(stream, current_version=StreamState.ANY)
    refused(fault("NotFound"), lambda: client.get_stream(stream))
    client.append_to_stream(stream, current_version=StreamState.ANY, events=events(2))
    assert [event.stream_position for event in client.get_stream(stream)] == [3, 4]
    client.tombstone_stream(stream, current_version=4)
    gone = fault("StreamIsDeleted")
    refused(gone, lambda: client.get_stream(stream))
    refused(gone, lambda: client.append_to_stream(stream, current_version=StreamState.ANY, events=events(1)))
    precondition = fault("FailedPrecondition")
    refused(precondition, lambda: client.append_event(stream, current_version=StreamState.ANY, event=events(1)[0]))
    refused(gone, lambda: client.delete_stream(stream, current_version=StreamState.ANY))
    refused(gone, lambda: client.tombstone_stream(stream, current_version=StreamState.ANY))
    refused(gone, lambda: client.subscribe_to_stream(stream))
    refused(gone, lambda: client.get_stream_metadata(stream))
    client.tombstone_stream(fresh("never"), current_version=StreamState.NO_STREAM)


def metadata(client, server):
    stream = fresh("metadata")
    assert client.get_stream_metadata(stream) == ({}, StreamState.NO_STREAM)
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(5))
    said = {"$maxCount": 2, "$acl": {"$r": ["$all"]}, "own": {"deep": [1, "two"]}}
    client.set_stream_metadata(stream, metadata=said)
    assert client.get_stream_metadata(stream) == (said, 0)
    assert [event.stream_position for event in client.get_stream(stream)] == [3, 4]
    client.set_stream_metadata(stream, metadata={"$tb": 1}, current_version=0)
    assert [event.stream_position for event in client.get_stream(stream)] == [1, 2, 3, 4]


def read_all(client, server):
    stream = fresh("all")
    position = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(3, fresh("T")))
    every = list(client.read_all(filter_exclude=()))
    positions = [event.commit_position for event in every]
    assert positions == sorted(set(positions)) and positions[-1] == position
    at = positions[-2]
    assert [event.commit_position for event in client.read_all(commit_position=at)] == positions[-2:]
    backwards = [event.commit_position for event in client.read_all(commit_position=at, backwards=True, limit=1)]
    assert backwards == [positions[-3]]
    assert client.get_commit_position() == position
    assert client.get_commit_position(filter_include=["no such type"]) == 0
    types = {event.type for event in client.read_all(filter_exclude=(r"\$.+", "Counted"))}
    assert types and not any(name.startswith("$") or name == "Counted" for name in types), types
    only = [event.stream_name for event in client.read_all(filter_include=[stream], filter_by_stream_name=True)]
    assert only == [stream] * 3, only


def links(client, server):
    target, stream = fresh("target"), fresh("links")
    client.append_to_stream(target, current_version=StreamState.NO_STREAM, events=events(2))
    link = NewEvent(type="$>", data=f"1@{target}".encode(), content_type="application/octet-stream")
    nowhere = NewEvent(type="$>", data=f"9@{target}".encode(), content_type="application/octet-stream")
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=[link])
    resolved = client.get_stream(stream, resolve_links=True)[0]
    assert (resolved.stream_name, resolved.stream_position) == (target, 1)
    assert resolved.link.stream_name == stream
    assert client.get_stream(stream)[0].type == "$>"
    client.append_event(stream, current_version=0, event=nowhere)
    assert client.get_stream(stream, resolve_links=False)[1].type == "$>"


def subscriptions(client, server):
    stream = fresh("followed")
    with client.subscribe_to_stream(stream) as empty:
        written = events(3)
        client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=written)
        assert [next(empty).id for _ in written] == [event.id for event in written]
    with client.subscribe_to_stream(stream, stream_position=0) as behind:
        assert [next(behind).stream_position for _ in range(2)] == [1, 2]
    with client.subscribe_to_stream(stream, from_end=True) as live:
        last = events(1)[0]
        client.append_event(stream, current_version=2, event=last)
        assert next(live).id == last.id
    with client.subscribe_to_stream(stream, include_caught_up=True) as follower:
        told = [next(follower) for _ in range(5)]
        assert isinstance(told[-1], CaughtUp) and not any(isinstance(one, CaughtUp) for one in told[:-1])
    for _ in range(80):
        with client.subscribe_to_all() as brief:
            next(brief)


def checkpoints(client, server):
    start = client.get_commit_position(filter_exclude=())
    client.append_to_stream(fresh("x"), current_version=StreamState.ANY, events=events(3, "Skipped"))
    client.append_to_stream(fresh("x"), current_version=StreamState.ANY, events=events(1, "Wanted"))
    with client.subscribe_to_all(
        commit_position=start,
        filter_include=["Wanted"],
        include_checkpoints=True,
        include_caught_up=True,
        window_size=1,
        checkpoint_interval_multiplier=1,
    ) as follower:
        told = [next(follower) for _ in range(6)]
        kinds = [type(one).__name__ for one in told]
        assert kinds == ["Checkpoint"] * 3 + ["RecordedEvent", "Checkpoint", "CaughtUp"], kinds
        positions = [one.commit_position for one in told[:5]]
        assert positions == sorted(positions) and positions[3] == positions[4], positions
        client.append_to_stream(fresh("x"), current_version=StreamState.ANY, events=events(2, "Skipped"))
        live = [next(follower) for _ in range(2)]
        assert all(isinstance(one, Checkpoint) for one in live), live
    refused(Exception, lambda: client.subscribe_to_all(filter_include=["a(?=b)"]))


def operation(client, server):
    member = client.read_gossip()[0]
    assert (member.state, member.address, member.port) == ("NODE_STATE_LEADER", "localhost", server.port), member
    assert client.list_subscriptions() == []


def flood(client, server):
    stream = fresh("flood")
    writers = [
        threading.Thread(
            target=lambda: [client.append_event(stream, current_version=StreamState.ANY, event=one) for one in events(50)]
        )
        for _ in range(20)
    ]
    [writer.start() for writer in writers]
    [writer.join() for writer in writers]
    assert [event.stream_position for event in client.get_stream(stream)] == list(range(1000))


def restart(client, server):
    stream = fresh("restarted")
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(2))
    follower = client.subscribe_to_stream(stream, from_end=True)
    server.stop()
    server.start()
    ended = refused(Exception, lambda: next(follower))
    assert not isinstance(ended, StopIteration), "the subscription ended as if it were finished"
    assert len(client.get_stream(stream)) == 2
    client.append_to_stream(stream, current_version=1, events=events(1))


PARTS = [
    fresh_database,
    append_and_read,
    expected_revisions,
    limits,
    deletes,
    metadata,
    read_all,
    links,
    subscriptions,
    checkpoints,
    operation,
    flood,
    restart,
]


def converse(is_tls):
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder, is_tls)
        try:
            scheme = {"kurrentdbclient": "kurrentdb", "esdbclient": "esdb"}[PACKAGE]
            client = getattr(CLIENTS, CLIENT)(uri=server.uri(scheme))
            for part in PARTS:
                part(client, server)
                print(f"ok {PACKAGE} {'tls' if is_tls else 'clear text'} {part.__name__}", flush=True)
            client.close()
        finally:
            server.process.kill()
            server.process.wait()
    print(f"{PACKAGE}: {len(PARTS)} parts passed {'over TLS' if is_tls else 'in clear text'}")


for is_tls in [False, True]:
    converse(is_tls)
