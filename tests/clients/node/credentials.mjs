// Talks to a running forebay that asks callers who they are, with one of the two official Node clients.
//
// Usage: credentials.mjs PROGRAM PACKAGES, where PACKAGES is the folder with the installed clients. Over TLS, because
// these clients send credentials no other way. Prints one line for each part that passed; any failure ends it with
// status 1.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request as begin } from "node:https";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { randomUUID } from "node:crypto";

const [program, packages] = process.argv.slice(2);
const require = createRequire(join(resolve(packages), "none.js"));
const START_LIMIT_MS = 60_000;
const ADMIN = { username: "admin", password: "root-pw" };
const ANN = { username: "ann", password: "ann-pw" };
const BOB = { username: "bob", password: "bob-pw" };

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

const basic = ({ username, password }) => `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;

// Asks over HTTPS; answers the status, or nothing when nobody answers.
function ask({ port, ca }, method, path, headers = {}, body = "") {
  const options = { host: "127.0.0.1", port, ca, method, path, headers };
  return new Promise((done) => {
    const request = begin(options, (answer) => {
      answer.resume();
      done(answer.statusCode);
    });
    request.on("error", () => done(undefined));
    request.end(body);
  });
}

async function start() {
  const folder = mkdtempSync(join(tmpdir(), "forebay-"));
  const certificates = join(folder, "certificates");
  execFileSync(program, ["certificates", "dev", "--out", certificates]);
  const caFile = join(certificates, "ca.pem");
  const server = { port: await freePort(), ca: readFileSync(caFile), caFile };
  const env = { ...process.env, FOREBAY_ADMIN_PASSWORD: ADMIN.password, FOREBAY_OPS_PASSWORD: "ops-pw" };
  const flags = ["serve", "--data", join(folder, "data"), "--listen", `127.0.0.1:${server.port}`];
  flags.push("--tls-certificate", join(certificates, "server.pem"), "--tls-key", join(certificates, "server.key"));
  const child = spawn(program, flags, { env, stdio: "ignore" });
  server.stop = () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  const until = Date.now() + START_LIMIT_MS;
  while ((await ask(server, "GET", "/health/live")) !== 204) {
    assert.equal(child.exitCode, null, "the server ended");
    assert.ok(Date.now() < until, "the server did not start in time");
    await new Promise((done) => setTimeout(done, 20));
  }
  for (const { username, password } of [ANN, BOB]) {
    const body = JSON.stringify({ loginName: username, password, groups: username === "ann" ? ["editors"] : [] });
    const headers = { authorization: basic(ADMIN), "content-type": "application/json" };
    assert.equal(await ask(server, "POST", "/users", headers, body), 200);
  }
  return server;
}

const fresh = (name) => `${name}-${randomUUID()}`;

async function collect(events, count = Infinity) {
  const read = [];
  for await (const one of events) {
    read.push(one);
    if (read.length >= count) break;
  }
  return read;
}

async function refused(call, expected) {
  const error = await call().then(() => assert.fail("it is to be refused"), (error) => error);
  assert.ok(expected(error), `${call}: ${error.constructor.name}: ${error}`);
}

// Each part takes what the package exports, and a way to get a client for a user.
const parts = {
  async signedIn({ kit, as }) {
    const stream = fresh("open");
    const event = kit.jsonEvent({ type: "Written", data: { by: "ann" } });
    await as(ANN).appendToStream(stream, event);
    const [read] = await collect(as(BOB).readStream(stream));
    assert.equal(read.event.id, event.id);
  },

  async wrongPassword({ kit, as }) {
    const wrong = as({ ...ANN, password: "wrong" });
    const isUnauthenticated = (error) => /unauthenticated|access.?denied/i.test(`${error.constructor.name} ${error}`);
    await refused(() => wrong.appendToStream(fresh("x"), kit.jsonEvent({ type: "T", data: {} })), isUnauthenticated);
    await refused(() => collect(wrong.readStream("$users")), isUnauthenticated);
  },

  async nobody({ kit, as, denied }) {
    const event = kit.jsonEvent({ type: "T", data: {} });
    await refused(() => as(undefined).appendToStream(fresh("x"), event), denied);
    await refused(() => collect(as(undefined).readStream(fresh("x"))), denied);
  },

  async systemStreams({ as, denied }) {
    await refused(() => collect(as(ANN).readAll({ maxCount: 1 })), denied);
    await refused(() => collect(as(ANN).readStream("$users")), denied);
    assert.ok((await collect(as(ADMIN).readAll({ maxCount: 1 }))).length === 1);
  },

  async lists({ kit, as, denied }) {
    const stream = fresh("secret");
    const event = () => kit.jsonEvent({ type: "Written", data: {} });
    await as(ANN).appendToStream(stream, event());
    const acl = {
      readRoles: ["editors"],
      writeRoles: ["ann"],
      deleteRoles: ["$admins"],
      metaReadRoles: ["editors"],
      metaWriteRoles: ["$admins"],
    };
    await as(ADMIN).setStreamMetadata(stream, { acl });
    assert.deepEqual((await as(ANN).getStreamMetadata(stream)).metadata.acl.readRoles, ["editors"]);
    await as(ANN).appendToStream(stream, event());
    assert.equal((await collect(as(ANN).readStream(stream))).length, 2);
    for (const call of [
      () => collect(as(BOB).readStream(stream)),
      () => as(BOB).appendToStream(stream, event()),
      () => as(BOB).getStreamMetadata(stream),
      () => as(ANN).deleteStream(stream),
      () => as(ANN).tombstoneStream(stream),
      () => as(ANN).setStreamMetadata(stream, {}),
      () => collect(as(BOB).subscribeToStream(stream), 1),
    ]) {
      await refused(call, denied);
    }
    // One connection, another user for one call.
    await refused(() => as(ANN).appendToStream(stream, event(), { credentials: BOB }), denied);
    await as(BOB).appendToStream(stream, event(), { credentials: ANN });
  },

  async subscriptionsEnd({ kit, as, denied }) {
    const stream = fresh("followed");
    await as(BOB).appendToStream(stream, kit.jsonEvent({ type: "Written", data: {} }));
    const subscription = as(BOB).subscribeToStream(stream);
    const ended = new Promise((done) => subscription.on("error", done));
    await new Promise((done) => subscription.on("data", done));
    await as(ADMIN).setStreamMetadata(stream, { acl: { readRoles: ["editors"] } });
    assert.ok(denied(await ended));
  },
};

async function converse(name, kind, scheme) {
  const kit = require(name);
  const server = await start();
  const clients = new Map();
  const tls = `tls=true&tlsVerifyCert=true&tlsCAFile=${encodeURIComponent(server.caFile)}`;
  const as = (user) => {
    if (!clients.has(user)) {
      const who = user ? `${user.username}:${encodeURIComponent(user.password)}@` : "";
      clients.set(user, kit[kind].connectionString(`${scheme}://${who}localhost:${server.port}?${tls}`));
    }
    return clients.get(user);
  };
  const denied = (error) => error instanceof kit.AccessDeniedError;
  try {
    for (const [part, run] of Object.entries(parts)) {
      await run({ kit, as, denied });
      console.log(`ok ${name} with credentials: ${part}`);
    }
  } finally {
    server.stop();
  }
  console.log(`${name}: ${Object.keys(parts).length} parts passed with credentials`);
}

await converse("@kurrent/kurrentdb-client", "KurrentDBClient", "kurrentdb");
await converse("@eventstore/db-client", "EventStoreDBClient", "esdb");
process.exit(0);
