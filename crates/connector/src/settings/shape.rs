//! Owns the shape of a struct of settings, as read from its JSON schema.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// One place in a struct of settings.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) secret: bool,
    pub(super) doc: String,
    pub(super) default: Option<Value>,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Object(Vec<Field>),
    Map(Box<Node>),
    List(Box<Node>),
    Leaf(Leaf),
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) node: Node,
}

/// The form of one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaf {
    Text,
    Bool,
    Integer { min: Option<f64>, max: Option<f64> },
    Number { min: Option<f64>, max: Option<f64> },
    Words(Vec<String>),
    DurationMs,
    Span,
    Base64,
}

impl Leaf {
    /// What a value looks like, for a person.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Bool => "true or false".into(),
            Self::Integer { min, max } => bounded("whole number", *min, *max),
            Self::Number { min, max } => bounded("number", *min, *max),
            Self::Words(words) => format!("one of {}", words.join(", ")),
            Self::DurationMs => "milliseconds, or a duration such as 5s".into(),
            Self::Span => "duration such as 00:05:00, 5s or 250ms".into(),
            Self::Base64 => "base64 text".into(),
        }
    }
}

fn bounded(what: &str, min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
        (Some(min), None) => format!("{what}, at least {min}"),
        (None, Some(max)) => format!("{what}, at most {max}"),
        (None, None) => what.into(),
    }
}

/// The shape of a struct of settings.
pub(super) fn shape_of<T: JsonSchema>() -> Node {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    node(&generator.into_root_schema_for::<T>().to_value())
}

fn node(schema: &Value) -> Node {
    let schema_inside = not_null(schema);
    let text = |key: &str| schema.get(key).or_else(|| schema_inside.get(key)).and_then(Value::as_str);
    let flag = |schema: &Value| schema.get("writeOnly").and_then(Value::as_bool).unwrap_or(false);
    Node {
        shape: shape(schema_inside),
        secret: flag(schema) || flag(schema_inside),
        doc: text("description").unwrap_or_default().trim().to_owned(),
        default: schema.get("default").filter(|value| !value.is_null()).cloned(),
    }
}

/// An optional value is described as "this or null"; what counts is this.
fn not_null(schema: &Value) -> &Value {
    let options = schema.get("anyOf").and_then(Value::as_array);
    let is_null = |option: &&Value| option.get("type").and_then(Value::as_str) == Some("null");
    match options.map(|options| options.iter().filter(|option| !is_null(option)).collect::<Vec<_>>()).as_deref() {
        Some([only]) => not_null(only),
        _ => schema,
    }
}

fn shape(schema: &Value) -> Shape {
    let kind = type_of(schema);
    if let Some(items) = schema.get("items").filter(|_| kind == Some("array")) {
        return Shape::List(Box::new(node(items)));
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|names| names.iter().any(|other| other.as_str() == Some(name)));
        let fields = properties.iter().map(|(name, schema)| Field {
            name: name.clone(),
            required: is_required(name),
            node: node(schema),
        });
        return Shape::Object(fields.collect());
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        return Shape::Map(Box::new(node(values)));
    }
    match kind {
        Some("object") => Shape::Object(Vec::new()),
        _ => Shape::Leaf(leaf(schema, kind)),
    }
}

fn leaf(schema: &Value, kind: Option<&str>) -> Leaf {
    let words = words(schema);
    if !words.is_empty() {
        return Leaf::Words(words);
    }
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    match (kind, schema.get("format").and_then(Value::as_str)) {
        (_, Some("duration-ms")) => Leaf::DurationMs,
        (_, Some("span")) => Leaf::Span,
        (_, Some("base64")) => Leaf::Base64,
        (Some("boolean"), _) => Leaf::Bool,
        (Some("integer"), _) => Leaf::Integer { min: bound("minimum"), max: bound("maximum") },
        (Some("number"), _) => Leaf::Number { min: bound("minimum"), max: bound("maximum") },
        _ => Leaf::Text,
    }
}

/// The words of an enum: listed, or one constant per documented variant.
fn words(schema: &Value) -> Vec<String> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let listed = list("enum").iter().filter_map(Value::as_str).map(ToOwned::to_owned);
    let inside = list("oneOf").iter().flat_map(|option| match option.get("const").and_then(Value::as_str) {
        Some(word) => vec![word.to_owned()],
        None => words(option),
    });
    listed.chain(inside).collect()
}

fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ => None,
    }
}
