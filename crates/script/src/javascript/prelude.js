// Runs before the user's script, in the same global scope, and hands back the three functions the host needs.
(function () {
    'use strict';
    const { create, defineProperty, freeze, getPrototypeOf, preventExtensions } = Object;

    // Code is what the source says, never what the data says.
    const refuse = function Function() {
        throw new TypeError('a transform cannot make code from text');
    };
    const plain = getPrototypeOf(function () {});
    const generator = getPrototypeOf(function* () {});
    const async = getPrototypeOf(async function () {});
    const asyncGenerator = getPrototypeOf(async function* () {});
    for (const prototype of [plain, generator, async, asyncGenerator]) {
        defineProperty(prototype, 'constructor', { value: refuse, writable: false, configurable: false });
    }
    // Keeps `f instanceof Function` true for every function.
    refuse.prototype = plain;
    freeze(refuse);
    defineProperty(globalThis, 'Function', { value: refuse, writable: false, configurable: false });
    delete globalThis.eval;
    delete globalThis.Atomics;
    delete globalThis.SharedArrayBuffer;

    // The newer names of a record are accessors of a frozen prototype, so the two names can never differ.
    const alias = (name) => ({
        get() { return this[name]; },
        set(value) { this[name] = value; },
    });
    const positionPrototype = freeze(create(Object.prototype, { stream: alias('streamId') }));
    const schemaPrototype = freeze(create(Object.prototype, {
        name: alias('subject'),
        format: { get() { return 'Json'; }, set() {} },
    }));
    const schemaOf = (subject) => {
        const schema = create(schemaPrototype);
        schema.subject = subject;
        schema.type = 'json';
        return schema;
    };
    const recordPrototype = freeze(create(Object.prototype, {
        id: alias('recordId'),
        sequence: alias('sequenceId'),
        redacted: alias('isRedacted'),
        properties: alias('headers'),
        schema: {
            get() { return this.schemaInfo; },
            set(schema) { this.schemaInfo = schema === this.schemaInfo ? schema : schemaOf(schema.name); },
        },
    }));

    // Written without literals of prototypes' members, so that nothing a script defines on them is called.
    const make = (recordId, streamId, streamRevision, logPosition, sequenceId, isTransformed, subject, timestamp, headers, value) => {
        const position = create(positionPrototype);
        position.streamId = streamId;
        position.streamRevision = streamRevision;
        position.logPosition = logPosition;
        const record = create(recordPrototype);
        record.recordId = recordId;
        record.position = position;
        record.sequenceId = sequenceId;
        record.isTransformed = isTransformed;
        record.isRedacted = false;
        record.schemaInfo = schemaOf(subject);
        record.headers = headers;
        record.value = value;
        record.streamId = streamId;
        record.timestamp = timestamp;
        return record;
    };

    // What `transform` is, when it is not a function that can be called for a record.
    const kindOf = (found) => {
        if (typeof found !== 'function') {
            return found === null ? 'null' : typeof found;
        }
        switch (getPrototypeOf(found)) {
            case async: return 'an async function';
            case generator: return 'a generator';
            case asyncGenerator: return 'an async generator';
            default: return '';
        }
    };

    // From now on nothing new can be put where every record of every event would inherit it.
    const shared = [Object.prototype, Array.prototype, String.prototype, Number.prototype, Boolean.prototype];
    const close = () => {
        for (let index = 0; index < shared.length; index += 1) {
            preventExtensions(shared[index]);
        }
    };

    return { make, kindOf, close };
})();
