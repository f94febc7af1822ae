//! Owns one QuickJS runtime with one user's script in it: loads it, runs it for one record at a time.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::Bytes;
use forebay_event::{ContentType, Headers, Record, Reshape};
use rquickjs::context::EvalOptions;
use rquickjs::function::Args;
use rquickjs::object::{Filter, Property};
use rquickjs::{Context, Ctx, Error, Function, Object, Persistent, Runtime, Value, context::intrinsic};

use super::failure::{FailureKind, ScriptError};
use super::headers::headers_of;
use super::thrown::{SCRIPT_NAME, Thrown, Watch, shortened};
use crate::limits::{HEADERS_BYTES_MAX, HEADERS_MAX, Limits, SUBJECT_BYTES_MAX};

const PRELUDE: &str = include_str!("prelude.js");

/// What became of one record; the record itself stays with whoever asked.
pub(super) enum Verdict {
    /// Not JSON: not the transform's business.
    Unchanged,
    /// The script let it through.
    Changed(Reshape),
    /// The script dropped it.
    Dropped,
    /// It could not be transformed.
    Failed(Failed),
}

/// Why a record could not be transformed.
pub(super) struct Failed {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

impl Failed {
    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidResult, message)
    }
}

/// A script in its runtime. Fields are dropped in this order: what lives in the runtime before the runtime itself.
pub(super) struct Engine {
    functions: Functions,
    context: Context,
    runtime: Runtime,
    watch: Rc<Watch>,
    limits: Limits,
}

struct Functions {
    make: Persistent<Function<'static>>,
    transform: Persistent<Function<'static>>,
}

impl Engine {
    /// Makes a runtime and loads a script into it. All of it is freed again when that fails.
    pub(super) fn load(source: &str, limits: Limits, abandoned: Arc<AtomicBool>) -> Result<Self, ScriptError> {
        let watch = Rc::new(Watch::new(abandoned));
        let runtime = Runtime::new().map_err(|error| engine_error(&error))?;
        runtime.set_max_stack_size(limits.stack_bytes);
        // The context stands before memory is bounded: one that is half made when memory runs out cannot be freed, and
        // the engine would abort the process.
        let context = new_context(&runtime).map_err(|error| engine_error(&error))?;
        let prelude = context.with(|ctx| Prelude::run(&ctx)).map_err(|error| engine_error(&error))?;
        let asked = Rc::clone(&watch);
        runtime.set_interrupt_handler(Some(Box::new(move || asked.must_stop())));
        runtime.set_memory_limit(limits.memory_bytes);
        watch.arm(Instant::now() + limits.load_time);
        // Whatever refers to the runtime is gone before it, also when this fails: the engine aborts the process otherwise.
        let functions = context.with(|ctx| {
            let loaded = load_script(&ctx, source, prelude);
            loaded.map_err(|failure| failure.into_script_error(&ctx, &watch, limits))
        })?;
        let engine = Self { functions, context, runtime, watch, limits };
        if engine.runtime.is_job_pending() { Err(ScriptError::Asynchronous) } else { Ok(engine) }
    }

    /// Runs the script for one record.
    pub(super) fn transform(&self, record: &Record, sequence: u64) -> Verdict {
        if record.event().content_type() != ContentType::Json {
            return Verdict::Unchanged;
        }
        self.watch.arm(Instant::now() + self.limits.time);
        let verdict = self.context.with(|ctx| {
            let call = Call { engine: self, ctx: &ctx, record };
            call.run(sequence).unwrap_or_else(Verdict::Failed)
        });
        if matches!(verdict, Verdict::Failed(_)) || !self.runtime.is_job_pending() {
            return verdict;
        }
        Verdict::Failed(Failed::invalid("the script leaves asynchronous work behind, which would never be done"))
    }

    /// Whether this runtime may be used after such a verdict: what holds memory or waits in it must not reach others.
    pub(super) fn is_sound_after(&self, verdict: &Verdict) -> bool {
        let spoiled = matches!(
            verdict,
            Verdict::Failed(Failed {
                kind: FailureKind::TimedOut | FailureKind::OutOfMemory | FailureKind::Crashed,
                ..
            })
        );
        !spoiled && !self.runtime.is_job_pending()
    }
}

fn engine_error(error: &Error) -> ScriptError {
    ScriptError::Engine { reason: error.to_string() }
}

/// Everything of the language but what works behind the script's back (weak references) or tells the time of a run.
fn new_context(runtime: &Runtime) -> Result<Context, Error> {
    Context::builder()
        .with::<intrinsic::Date>()
        .with::<intrinsic::Eval>()
        .with::<intrinsic::RegExpCompiler>()
        .with::<intrinsic::RegExp>()
        .with::<intrinsic::Json>()
        .with::<intrinsic::Proxy>()
        .with::<intrinsic::MapSet>()
        .with::<intrinsic::TypedArrays>()
        .with::<intrinsic::Promise>()
        .build(runtime)
}

struct Prelude {
    make: Persistent<Function<'static>>,
    kind_of: Persistent<Function<'static>>,
    close: Persistent<Function<'static>>,
}

impl Prelude {
    fn run(ctx: &Ctx<'_>) -> Result<Self, Error> {
        let functions: Object<'_> = ctx.eval(PRELUDE)?;
        let get = |name: &str| Ok::<_, Error>(Persistent::save(ctx, functions.get::<_, Function<'_>>(name)?));
        Ok(Self { make: get("make")?, kind_of: get("kindOf")?, close: get("close")? })
    }
}

enum LoadFailure {
    /// The engine could not compile or run it.
    Engine(Error),
    Script(ScriptError),
}

impl From<Error> for LoadFailure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

fn load_script(ctx: &Ctx<'_>, source: &str, prelude: Prelude) -> Result<Functions, LoadFailure> {
    let mut options = EvalOptions::default();
    options.strict = true;
    options.filename = Some(SCRIPT_NAME.to_owned());
    let _: Value<'_> = ctx.eval_with_options(source, options)?;
    // Not read from the global object: `const transform = …` is not there.
    let found: Value<'_> = ctx.eval("typeof transform === 'undefined' ? undefined : transform")?;
    if found.is_undefined() {
        return Err(LoadFailure::Script(ScriptError::Missing));
    }
    let kind: String = prelude.kind_of.restore(ctx)?.call((found.clone(),))?;
    let Some(transform) = found.into_function().filter(|_| kind.is_empty()) else {
        return Err(LoadFailure::Script(ScriptError::WrongKind { found: kind }));
    };
    let () = prelude.close.restore(ctx)?.call(())?;
    Ok(Functions { make: prelude.make, transform: Persistent::save(ctx, transform) })
}

impl LoadFailure {
    fn into_script_error(self, ctx: &Ctx<'_>, watch: &Watch, limits: Limits) -> ScriptError {
        let error = match self {
            Self::Script(error) => return error,
            Self::Engine(error) => error,
        };
        let thrown = Thrown::catch(ctx, watch, error);
        match thrown.kind {
            FailureKind::TimedOut => ScriptError::TimedOut { limit_ms: limits.load_time.as_millis() },
            FailureKind::OutOfMemory => ScriptError::OutOfMemory { bytes_max: limits.memory_bytes },
            FailureKind::StackOverflow => ScriptError::StackOverflow { bytes_max: limits.stack_bytes },
            _ if thrown.is_syntax => {
                let (line, column) = thrown.place.unwrap_or_default();
                ScriptError::Syntax { line, column, message: thrown.message }
            }
            _ => ScriptError::Threw { message: thrown.with_line() },
        }
    }
}

/// One call of the script.
struct Call<'a, 'js> {
    engine: &'a Engine,
    ctx: &'a Ctx<'js>,
    record: &'a Record,
}

impl<'js> Call<'_, 'js> {
    fn run(&self, sequence: u64) -> Result<Verdict, Failed> {
        let value = self.parse(self.record.data_slice())?;
        let given = match self.record.headers() {
            Some(headers) => headers.clone(),
            None => headers_of(self.record.event().metadata_slice()),
        };
        let argument = self.argument(value, &given, sequence).map_err(|error| self.failed(error))?;
        let transform = self.engine.functions.transform.clone().restore(self.ctx);
        let transform = transform.map_err(|error| self.failed(error))?;
        let returned: Value<'js> = transform.call((argument.clone(),)).map_err(|error| self.failed(error))?;
        if returned.is_null() {
            return Ok(Verdict::Dropped);
        }
        let result = self.result(&argument, returned)?;
        self.reshape(&result, &argument, &given).map(Verdict::Changed)
    }

    fn failed(&self, error: Error) -> Failed {
        let thrown = Thrown::catch(self.ctx, &self.engine.watch, error);
        let limits = self.engine.limits;
        let message = match thrown.kind {
            FailureKind::TimedOut => {
                format!("the script takes longer than {} ms for a record", limits.time.as_millis())
            }
            FailureKind::OutOfMemory => format!("the script takes more than {} bytes of memory", limits.memory_bytes),
            FailureKind::StackOverflow => format!("the script takes more than {} bytes of stack", limits.stack_bytes),
            _ => thrown.with_line(),
        };
        Failed::new(thrown.kind, message)
    }

    fn parse(&self, data: &[u8]) -> Result<Value<'js>, Failed> {
        let invalid = |message: String| Failed::new(FailureKind::InvalidJson, message);
        // The engine would take whatever bytes it gets for text.
        if let Err(error) = std::str::from_utf8(data) {
            return Err(invalid(format!("the data is not UTF-8 at byte {}", error.valid_up_to())));
        }
        if data.starts_with("\u{feff}".as_bytes()) {
            return Err(invalid("the data begins with a byte order mark, which JSON does not allow".to_owned()));
        }
        if let Some(at) = data.iter().position(|byte| *byte == 0) {
            return Err(invalid(format!("the data has a zero byte at {at}")));
        }
        self.ctx.json_parse(data).map_err(|error| {
            let failed = self.failed(error);
            if failed.kind == FailureKind::Threw { invalid(failed.message) } else { failed }
        })
    }

    fn argument(&self, value: Value<'js>, given: &Headers, sequence: u64) -> Result<Object<'js>, Error> {
        let headers = Object::new(self.ctx.clone())?;
        for (name, value) in given {
            // Defined, not assigned: a header may be called `__proto__`.
            headers.prop(name.as_str(), Property::from(value.as_str()).writable().enumerable().configurable())?;
        }
        let event = self.record.event();
        let mut args = Args::new(self.ctx.clone(), 10);
        let mut id = uuid::Uuid::encode_buffer();
        let id: &str = event.id().hyphenated().encode_lower(&mut id);
        args.push_arg(id)?;
        args.push_arg(event.stream())?;
        args.push_arg(number(event.revision().get()))?;
        args.push_arg(number(event.position().commit()))?;
        args.push_arg(number(sequence))?;
        args.push_arg(self.record.is_transformed())?;
        args.push_arg(self.record.subject())?;
        args.push_arg(event.created().to_string())?;
        args.push_arg(headers)?;
        args.push_arg(value)?;
        self.engine.functions.make.clone().restore(self.ctx)?.call_arg(args)
    }

    /// The object that holds the result: the argument, or what was returned in its place.
    fn result(&self, argument: &Object<'js>, returned: Value<'js>) -> Result<Object<'js>, Failed> {
        if returned.is_undefined() {
            return Ok(argument.clone());
        }
        if returned.is_promise() {
            return Err(Failed::invalid("the script returns a promise, a transform must not be asynchronous"));
        }
        let kind = returned.type_name();
        let odd = returned.is_array() || returned.is_function() || returned.is_error();
        let Some(result) = returned.into_object().filter(|_| !odd) else {
            return Err(Failed::invalid(format!(
                "the script returns a value of type {kind}, not a record, nothing or null"
            )));
        };
        if result == *argument || result.contains_key("value").map_err(|error| self.failed(error))? {
            return Ok(result);
        }
        Err(Failed::invalid("the script returns an object without `value`, which is no record"))
    }

    fn reshape(&self, result: &Object<'js>, argument: &Object<'js>, given: &Headers) -> Result<Reshape, Failed> {
        let data = self.data(result)?;
        let subject = self.subject(self.member(result, argument, "schemaInfo")?)?;
        let headers = self.headers(self.member(result, argument, "headers")?)?;
        Ok(Reshape {
            data: Some(data),
            subject: (subject != self.record.event().event_type()).then_some(subject),
            headers: if headers == *given { self.record.headers().cloned() } else { Some(headers) },
        })
    }

    /// A member of the result, or of the argument when the result is another object that says nothing about it.
    fn member(&self, result: &Object<'js>, argument: &Object<'js>, name: &str) -> Result<Value<'js>, Failed> {
        let value: Value<'js> = result.get(name).map_err(|error| self.failed(error))?;
        if value.is_undefined() && result != argument {
            return argument.get(name).map_err(|error| self.failed(error));
        }
        Ok(value)
    }

    fn data(&self, result: &Object<'js>) -> Result<Bytes, Failed> {
        let value: Value<'js> = result.get("value").map_err(|error| self.failed(error))?;
        let kind = value.type_name();
        let json = self.ctx.json_stringify(value).map_err(|error| {
            let failed = self.failed(error);
            match failed.kind {
                FailureKind::Threw => Failed::invalid(format!("`value` cannot be written as JSON: {}", failed.message)),
                _ => failed,
            }
        })?;
        let Some(json) = json else {
            return Err(Failed::invalid(format!(
                "`value` is {kind}, which JSON does not have; return null to drop a record"
            )));
        };
        let json = json.to_string().map_err(|error| self.failed(error))?;
        if json.len() > self.engine.limits.output_bytes {
            let (bytes, bytes_max) = (json.len(), self.engine.limits.output_bytes);
            return Err(Failed::invalid(format!("`value` has {bytes} bytes as JSON, at most {bytes_max} are allowed")));
        }
        Ok(Bytes::from(json))
    }

    fn subject(&self, schema: Value<'js>) -> Result<String, Failed> {
        let invalid =
            || Failed::invalid(format!("`schemaInfo.subject` must be a text of 1 to {SUBJECT_BYTES_MAX} bytes"));
        let schema = schema.into_object().ok_or_else(invalid)?;
        let subject: Value<'js> = schema.get("subject").map_err(|error| self.failed(error))?;
        let subject = subject.as_string().ok_or_else(invalid)?.to_string().map_err(|error| self.failed(error))?;
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX { Err(invalid()) } else { Ok(subject) }
    }

    fn headers(&self, headers: Value<'js>) -> Result<Headers, Failed> {
        if headers.is_undefined() || headers.is_null() {
            return Ok(Headers::new());
        }
        let odd = headers.is_array() || headers.is_function();
        let Some(object) = headers.into_object().filter(|_| !odd) else {
            return Err(Failed::invalid("`headers` must be an object of texts"));
        };
        let mut headers = Headers::new();
        let mut bytes = 0;
        // Names are taken as the engine's texts and checked: its own way to Rust's texts lets half surrogates through.
        for name in object.own_keys::<rquickjs::String<'js>>(Filter::new().string().enum_only()) {
            let name = name.and_then(|name| name.to_string()).map_err(|error| self.failed(error))?;
            let value: Value<'js> = object.get(name.as_str()).map_err(|error| self.failed(error))?;
            let Some(value) = self.header(&name, value)? else { continue };
            bytes += name.len() + value.len();
            headers.push((name, value));
            if headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
                let bound = format!("`headers` has more than {HEADERS_MAX} members or {HEADERS_BYTES_MAX} bytes");
                return Err(Failed::invalid(bound));
            }
        }
        Ok(headers)
    }

    /// The text of one header; nothing for `undefined`, which takes a header away as it does in JSON.
    fn header(&self, name: &str, value: Value<'js>) -> Result<Option<String>, Failed> {
        if value.is_undefined() {
            return Ok(None);
        }
        if value.is_string() || value.is_number() || value.is_bool() {
            let text: rquickjs::Coerced<String> = value.get().map_err(|error| self.failed(error))?;
            return Ok(Some(text.0));
        }
        let kind = value.type_name();
        let message = format!("header `{name}` must be a text, a number or a truth value, it is of type {kind}");
        Err(Failed::invalid(shortened(message)))
    }
}

/// A number as JavaScript has it: exact up to 2^53.
fn number(value: u64) -> f64 {
    value as f64
}
