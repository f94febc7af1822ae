// Talks to a running forebay as an application does, with one of the two official Node clients.
//
// Usage: conversation.mjs PROGRAM PACKAGES, where PACKAGES is the folder with the installed clients. Everything is said
// twice: in clear text, where nobody is asked who they are, and over TLS to a server that asks. Prints one line for each
// part that passed; any failure ends it with status 1.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { get as getClear } from "node:http";
import { get as getSecure } from "node:https";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { randomUUID } from "node:crypto";

const [program, packages] = process.argv.slice(2);
const require = createRequire(join(resolve(packages), "none.js"));
const APPEND_SIZE_MAX = 1 << 20;
const START_LIMIT_MS = 60_000;
// Of both first users, where they need one.
const PASSWORD = "root-pw";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

class Server {
  static async start(isTls) {
    const server = new Server();
    server.isTls = isTls;
    server.data = mkdtempSync(join(tmpdir(), "forebay-"));
    server.certificates = join(server.data, "certificates");
    if (isTls) execFileSync(program, ["certificates", "dev", "--out", server.certificates]);
    server.port = await freePort();
    await server.run();
    return server;
  }

  uri(scheme, who = `admin:${PASSWORD}`) {
    const ca = join(this.certificates, "ca.pem");
    const tls = this.isTls ? `tls=true&tlsVerifyCert=true&tlsCAFile=${encodeURIComponent(ca)}` : "tls=false";
    return `${scheme}://${who}@localhost:${this.port}?${tls}`;
  }

  /// Whether the port answers: it is bound before the log is open.
  isLive() {
    const ca = this.isTls ? readFileSync(join(this.certificates, "ca.pem")) : undefined;
    const options = { host: "127.0.0.1", port: this.port, path: "/health/live", ca };
    return new Promise((done) => {
      const request = (this.isTls ? getSecure : getClear)(options, (answer) => {
        answer.resume();
        done(answer.statusCode === 204);
      });
      request.on("error", () => done(false));
    });
  }

  async run() {
    const flags = ["serve", "--data", join(this.data, "log"), "--listen", `127.0.0.1:${this.port}`];
    if (this.isTls) {
      flags.push("--tls-certificate", join(this.certificates, "server.pem"));
      flags.push("--tls-key", join(this.certificates, "server.key"));
    }
    const env = {
      ...process.env,
      FOREBAY_LIMITS_APPEND_BYTES: String(APPEND_SIZE_MAX),
      FOREBAY_ADMIN_PASSWORD: PASSWORD,
      FOREBAY_OPS_PASSWORD: PASSWORD,
    };
    this.process = spawn(program, flags, { env, stdio: "ignore" });
    const until = Date.now() + START_LIMIT_MS;
    while (Date.now() < until) {
      assert.equal(this.process.exitCode, null, "the server ended");
      if (await this.isLive()) return;
      await new Promise((done) => setTimeout(done, 20));
    }
    assert.fail("the server did not start in time");
  }

  async stop() {
    this.process.kill("SIGTERM");
    const [code] = await once(this.process, "exit");
    assert.equal(code, 0, "the server stopped cleanly");
  }

  remove() {
    this.process.kill("SIGKILL");
    rmSync(this.data, { recursive: true, force: true });
  }
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

// Each part takes the client, what its package exports, the server, and a way to name an expected revision.
const parts = {
  async appendAndRead({ client, kit, expecting }) {
    const stream = fresh("größe");
    const events = [0, 1, 2].map((n) => kit.jsonEvent({ type: "Counted", data: { n }, metadata: { by: "me" } }));
    events.push(kit.binaryEvent({ type: "Blob", data: Buffer.from([0, 255, 7]) }));
    const appended = await client.appendToStream(stream, events, expecting(kit.NO_STREAM));
    assert.equal(appended.success, true);
    assert.equal(appended.nextExpectedRevision, 3n);
    const read = await collect(client.readStream(stream));
    assert.deepEqual(read.map(({ event }) => event.revision), [0n, 1n, 2n, 3n]);
    assert.deepEqual(read[1].event.data, { n: 1 });
    assert.deepEqual(read[1].event.metadata, { by: "me" });
    assert.deepEqual([...read[3].event.data], [0, 255, 7]);
    assert.equal(read[3].event.position.commit, appended.position.commit);
    const backwards = { direction: kit.BACKWARDS, fromRevision: kit.END, maxCount: 1 };
    assert.equal((await collect(client.readStream(stream, backwards)))[0].event.id, events[3].id);
    await assert.rejects(collect(client.readStream(fresh("none"))), kit.StreamNotFoundError);
  },

  async expectedRevisions({ client, kit, expecting }) {
    const stream = fresh("expected");
    const event = kit.jsonEvent({ type: "Counted", data: {} });
    const first = await client.appendToStream(stream, event, expecting(kit.NO_STREAM));
    for (const state of [kit.NO_STREAM, kit.ANY, kit.STREAM_EXISTS]) {
      const again = await client.appendToStream(stream, event, expecting(state));
      assert.equal(again.position.commit, first.position.commit);
    }
    const other = kit.jsonEvent({ type: "Counted", data: {} });
    for (const state of [kit.NO_STREAM, 7n]) {
      const error = await client.appendToStream(stream, other, expecting(state)).then(assert.fail, (error) => error);
      assert.ok(error instanceof kit.WrongExpectedVersionError, String(error));
      assert.equal(error.actualVersion ?? error.actualState, 0n);
    }
    const withCredentials = { ...expecting(0n), credentials: { username: "admin", password: PASSWORD } };
    assert.equal((await client.appendToStream(stream, other, withCredentials)).nextExpectedRevision, 1n);
  },

  async limits({ client, kit }) {
    const large = kit.jsonEvent({ type: "Large", data: { text: "x".repeat(APPEND_SIZE_MAX) } });
    await assert.rejects(client.appendToStream(fresh("large"), large), kit.MaxAppendSizeExceededError);
    const many = Array.from({ length: 625 }, (_, n) => kit.jsonEvent({ type: "Many", data: { n, fill: "y".repeat(1000) } }));
    const stream = fresh("pieces");
    await client.appendToStream(stream, many, { batchAppendSize: 1024 });
    assert.equal((await collect(client.readStream(stream))).length, 625);
  },

  async deletes({ client, kit, expecting }) {
    const stream = fresh("deleted");
    const event = () => kit.jsonEvent({ type: "Counted", data: {} });
    await client.appendToStream(stream, [event(), event()]);
    await assert.rejects(client.deleteStream(stream, expecting(5n)), kit.WrongExpectedVersionError);
    await client.deleteStream(stream, expecting(1n));
    await assert.rejects(collect(client.readStream(stream)), kit.StreamNotFoundError);
    await client.appendToStream(stream, event());
    assert.deepEqual((await collect(client.readStream(stream))).map(({ event }) => event.revision), [2n]);
    await client.tombstoneStream(stream);
    for (const refused of [
      () => collect(client.readStream(stream)),
      () => client.appendToStream(stream, event()),
      () => client.deleteStream(stream),
      () => client.tombstoneStream(stream),
      () => collect(client.subscribeToStream(stream)),
    ]) {
      const error = await refused().then(assert.fail, (error) => error);
      assert.ok(error instanceof kit.StreamDeletedError, `${refused}: ${error}`);
    }
  },

  async metadata({ client, kit }) {
    const stream = fresh("metadata");
    assert.equal((await client.getStreamMetadata(stream)).metastreamRevision, undefined);
    const counted = (n) => kit.jsonEvent({ type: "Counted", data: { n } });
    await client.appendToStream(stream, [1, 2, 3].map(counted));
    await client.setStreamMetadata(stream, { maxCount: 2, acl: { readRoles: ["$all"] }, own: { deep: [1] } });
    const { metadata } = await client.getStreamMetadata(stream);
    assert.equal(metadata.maxCount, 2);
    assert.deepEqual(metadata.own, { deep: [1] });
    assert.deepEqual((await collect(client.readStream(stream))).map(({ event }) => event.revision), [1n, 2n]);
  },

  async readAll({ client, kit, name }) {
    const type = fresh("Type");
    const events = [0, 1, 2].map((n) => kit.jsonEvent({ type, data: { n } }));
    const { position } = await client.appendToStream(fresh("all"), events);
    const [last] = await collect(client.readAll({ direction: kit.BACKWARDS, fromPosition: kit.END, maxCount: 1 }));
    assert.equal(last.event.position.commit, position.commit);
    assert.ok((await collect(client.readAll())).length > 8);
    // The older package has no filters on reads.
    if (name === "@eventstore/db-client") return;
    const found = await collect(client.readAll({ filter: kit.eventTypeFilter({ prefixes: [type] }) }));
    assert.deepEqual(found.map(({ event }) => event.id), events.map(({ id }) => id));
    const plain = await collect(client.readAll({ filter: kit.excludeSystemEvents() }));
    assert.ok(plain.length > 0 && plain.every(({ event }) => !event.type.startsWith("$")));
  },

  async links({ client, kit }) {
    const target = fresh("target");
    const stream = fresh("links");
    await client.appendToStream(target, kit.jsonEvent({ type: "Counted", data: { n: 0 } }));
    const data = Buffer.from(`0@${target}`);
    await client.appendToStream(stream, kit.binaryEvent({ type: "$>", data }));
    const [resolved] = await collect(client.readStream(stream, { resolveLinkTos: true }));
    assert.equal(resolved.event.streamId, target);
    assert.equal(resolved.link.streamId, stream);
  },

  async subscriptions({ client, kit }) {
    const stream = fresh("followed");
    const event = () => kit.jsonEvent({ type: "Followed", data: {} });
    const history = [event(), event()];
    await client.appendToStream(stream, history);
    const told = [];
    const subscription = client.subscribeToStream(stream);
    for (const name of ["confirmation", "caughtUp"]) subscription.on(name, () => told.push(name));
    const live = event();
    for await (const { event: seen } of subscription) {
      told.push(seen.id);
      if (seen.id === history[1].id) await client.appendToStream(stream, live);
      if (seen.id === live.id) break;
    }
    await subscription.unsubscribe();
    const ids = told.filter((one) => one !== "confirmation" && one !== "caughtUp");
    assert.deepEqual(ids, [...history, live].map(({ id }) => id));
    assert.equal(told.filter((one) => one === "confirmation").length, 1);
    for (let round = 0; round < 80; round += 1) {
      const brief = client.subscribeToAll();
      await collect(brief, 1);
      await brief.unsubscribe();
    }
  },

  async checkpoints({ client, kit }) {
    const type = fresh("Wanted");
    const skipped = Array.from({ length: 20 }, () => kit.jsonEvent({ type: "Skipped", data: {} }));
    const { position } = await client.appendToStream(fresh("x"), skipped);
    await client.appendToStream(fresh("x"), kit.jsonEvent({ type, data: {} }));
    const reached = [];
    const filter = kit.eventTypeFilter({
      regex: `^${type}$`,
      checkpointInterval: 1,
      maxSearchWindow: 1,
      checkpointReached: (_subscription, at) => reached.push(at.commit),
    });
    const subscription = client.subscribeToAll({ filter });
    const [{ event }] = await collect(subscription, 1);
    await subscription.unsubscribe();
    assert.equal(event.type, type);
    assert.ok(reached.length >= 20 && reached.includes(position.commit), `${reached.length} checkpoints`);
    assert.deepEqual(reached, [...reached].sort((a, b) => (a < b ? -1 : 1)));
  },

  async flood({ client, kit }) {
    const stream = fresh("flood");
    const appends = Array.from({ length: 2000 }, (_, n) =>
      client.appendToStream(stream, kit.jsonEvent({ type: "Flood", data: { n } })),
    );
    await Promise.all(appends);
    const read = await collect(client.readStream(stream));
    assert.deepEqual(read.map(({ event }) => event.data.n), Array.from({ length: 2000 }, (_, n) => n));
  },

  async notServed({ client, kit }) {
    assert.deepEqual(await client.listAllPersistentSubscriptions(), []);
    const settings = kit.persistentSubscriptionToStreamSettingsFromDefaults();
    const creating = client.createPersistentSubscriptionToStream(fresh("s"), "group", settings);
    await assert.rejects(creating, /UNIMPLEMENTED: persistent subscriptions are not served/);
  },

  async restart({ client, kit, server }) {
    const stream = fresh("restarted");
    await client.appendToStream(stream, kit.jsonEvent({ type: "Counted", data: {} }));
    const subscription = client.subscribeToStream(stream);
    const ended = new Promise((done) => subscription.on("error", done));
    await once(subscription, "confirmation");
    subscription.resume();
    await server.stop();
    assert.ok((await ended) instanceof Error);
    await server.run();
    let read;
    for (let attempt = 0; attempt < 10 && !read; attempt += 1) {
      read = await collect(client.readStream(stream)).catch(() => undefined);
    }
    assert.equal(read.length, 1);
  },
};

async function converse(name, kind, scheme, isTls) {
  const kit = require(name);
  const way = isTls ? "over TLS" : "in clear text";
  const server = await Server.start(isTls);
  try {
    const client = kit[kind].connectionString(server.uri(scheme));
    // The newer package renamed the option of appends, but not that of deletes.
    const expecting = (state) => ({ streamState: state, expectedRevision: state });
    for (const [part, run] of Object.entries(parts)) {
      await run({ client, kit, name, server, expecting });
      console.log(`ok ${name} ${way} ${part}`);
    }
    const discovering = kit[kind].connectionString(server.uri(`${scheme}+discover`));
    await collect(discovering.readAll({ maxCount: 1 }));
    console.log(`ok ${name} ${way} discover`);
  } finally {
    server.remove();
  }
  console.log(`${name}: ${Object.keys(parts).length + 1} parts passed ${way}`);
}

// One package after the other: both keep their messages in the same global place, and the second takes it over.
for (const isTls of [false, true]) {
  await converse("@kurrent/kurrentdb-client", "KurrentDBClient", "kurrentdb", isTls);
}
for (const isTls of [false, true]) {
  await converse("@eventstore/db-client", "EventStoreDBClient", "esdb", isTls);
}
process.exit(0);
