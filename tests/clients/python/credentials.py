"""Talks to a running forebay that asks callers who they are, with one of the two official Python clients.

Usage: credentials.py PROGRAM PACKAGE, where PACKAGE is kurrentdbclient or esdbclient.
Over TLS, because these clients send credentials no other way.
Prints one line for each part that passed; any failure ends it with a traceback and status 1.
"""

import base64
import importlib
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from urllib.parse import quote
from uuid import uuid4

PROGRAM, PACKAGE = sys.argv[1:]
CLIENTS = importlib.import_module(PACKAGE)
FAULTS = importlib.import_module(PACKAGE + ".exceptions")
CLIENT = getattr(CLIENTS, {"kurrentdbclient": "KurrentDBClient", "esdbclient": "EventStoreDBClient"}[PACKAGE])
SCHEME = {"kurrentdbclient": "kurrentdb", "esdbclient": "esdb"}[PACKAGE]
NewEvent, StreamState, CaughtUp = CLIENTS.NewEvent, CLIENTS.StreamState, CLIENTS.CaughtUp
START_LIMIT_SECONDS = 60
PASSWORDS = {"admin": "root-pw", "ops": "ops-pw", "ann": "ann-pw", "bob": "bob-pw"}


class Server:
    """The real program with users of its own, over TLS with certificates of its own making."""

    def __init__(self, folder):
        self.certificates = os.path.join(folder, "certificates")
        made = [PROGRAM, "certificates", "dev", "--out", self.certificates]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        self.trust = ssl.create_default_context(cafile=os.path.join(self.certificates, "ca.pem"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [PROGRAM, "serve", "--data", os.path.join(folder, "data"), "--listen", f"127.0.0.1:{self.port}"]
        command += ["--tls-certificate", os.path.join(self.certificates, "server.pem")]
        command += ["--tls-key", os.path.join(self.certificates, "server.key")]
        given = {"FOREBAY_ADMIN_PASSWORD": PASSWORDS["admin"], "FOREBAY_OPS_PASSWORD": PASSWORDS["ops"]}
        self.process = subprocess.Popen(command, env={**os.environ, **given}, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_LIMIT_SECONDS
        while not self.is_live():
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server did not start in time"
            time.sleep(0.02)
        for login, groups in [("ann", ["editors"]), ("bob", [])]:
            self.ask("/users", {"loginName": login, "password": PASSWORDS[login], "groups": groups})

    def is_live(self):
        try:
            self.ask("/health/live")
            return True
        except OSError:
            return False

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data)
        request.add_header("content-type", "application/json")
        if body is not None:
            who = f"admin:{PASSWORDS['admin']}".encode()
            request.add_header("authorization", "Basic " + base64.b64encode(who).decode())
        urllib.request.urlopen(request, context=self.trust).close()

    def client(self, login, password=None):
        who = f"{login}:{quote(password or PASSWORDS[login], safe='')}@" if login else ""
        ca = os.path.join(self.certificates, "ca.pem")
        return CLIENT(uri=f"{SCHEME}://{who}localhost:{self.port}?tls=true&tlsVerifyCert=true&tlsCaFile={ca}")


def fault(name):
    """A class of error; the newer package adds a word to the names of the older one."""
    return getattr(FAULTS, name + "Error", None) or getattr(FAULTS, name)


def refused(expected, call):
    try:
        outcome = call()
        if hasattr(outcome, "__next__"):
            next(outcome)
    except expected as error:
        return error
    raise AssertionError(f"expected {expected}")


def denied(call):
    """The older package has no class of its own for every denial."""
    error = refused((fault("AccessDenied"), FAULTS.GrpcError), call)
    assert type(error) is fault("AccessDenied") or "PERMISSION_DENIED" in str(error), error


def fresh(name):
    return f"{name}-{uuid4()}"


def append(client, stream, **more):
    client.append_event(stream, current_version=StreamState.ANY, event=NewEvent(type="Written", data=b"{}"), **more)


def signed_in(server):
    stream = fresh("open")
    append(server.client("ann"), stream)
    assert len(server.client("bob").get_stream(stream)) == 1


def wrong_password(server):
    wrong = server.client("ann", "wrong")
    expected = getattr(FAULTS, "UnauthenticatedError", None) or fault("GrpcError")
    refused(expected, lambda: append(wrong, fresh("x")))
    refused(expected, lambda: wrong.get_stream("$users"))


def system_streams(server):
    ann = server.client("ann")
    denied(lambda: iter(ann.read_all(limit=1)))
    denied(lambda: ann.get_stream("$users"))
    users = server.client("admin").get_stream("$users")
    assert [user.data for user in users] == [b"admin", b"ops", b"ann", b"bob"], users
    denied(lambda: server.client("ops").get_stream("$users"))


def lists(server):
    admin, ann, bob = (server.client(login) for login in ["admin", "ann", "bob"])
    stream = fresh("secret")
    append(ann, stream)
    acl = {"$r": ["editors"], "$w": "ann", "$d": "$admins", "$mr": "editors", "$mw": "$admins"}
    admin.set_stream_metadata(stream, metadata={"$acl": acl}, current_version=StreamState.ANY)
    assert ann.get_stream_metadata(stream)[0]["$acl"] == acl
    append(ann, stream)
    assert len(ann.get_stream(stream)) == 2
    for call in [
        lambda: bob.get_stream(stream),
        lambda: append(bob, stream),
        lambda: bob.get_stream_metadata(stream),
        lambda: bob.subscribe_to_stream(stream),
        lambda: ann.delete_stream(stream, current_version=StreamState.ANY),
        lambda: ann.tombstone_stream(stream, current_version=StreamState.ANY),
        lambda: ann.set_stream_metadata(stream, metadata={}, current_version=StreamState.ANY),
    ]:
        denied(call)
    # One connection, another user for one call.
    append(bob, stream, credentials=bob.construct_call_credentials("ann", PASSWORDS["ann"]))
    denied(lambda: append(ann, stream, credentials=ann.construct_call_credentials("bob", PASSWORDS["bob"])))


def subscriptions_end(server):
    stream, bob = fresh("followed"), server.client("bob")
    append(bob, stream)
    subscription = bob.subscribe_to_stream(stream)
    assert next(subscription).stream_name == stream
    acl = {"$acl": {"$r": "editors"}}
    server.client("admin").set_stream_metadata(stream, metadata=acl, current_version=StreamState.ANY)
    denied(lambda: subscription)


PARTS = [signed_in, wrong_password, system_streams, lists, subscriptions_end]


def main():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            for part in PARTS:
                part(server)
                print(f"ok {PACKAGE} with credentials: {part.__name__}", flush=True)
        finally:
            server.process.kill()
            server.process.wait()
    print(f"{PACKAGE}: {len(PARTS)} parts passed with credentials")


main()
