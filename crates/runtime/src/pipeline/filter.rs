//! Owns the filter: what the store leaves out, and what is looked at here.

use std::sync::Arc;

use forebay_connector::settings::SettingsErrors;
use forebay_event::StreamName;
use forebay_script::JsonPath;
use forebay_store::{EventFilter, FilterSubject, Matcher};

use super::view::EventView;
use crate::settings::{FilterScope, FilterSettings, FilterType};

const EXPRESSION_KEY: &str = "subscription:filter:expression";
const TYPE_KEY: &str = "subscription:filter:filterType";
const SCOPE_KEY: &str = "subscription:filter:scope";

/// A compiled filter.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    source: Source,
    path: Option<Arc<JsonPath>>,
}

/// What is subscribed to.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The whole log, filtered by the store.
    Log(EventFilter),
    /// One stream.
    Stream(StreamName),
}

impl Filter {
    /// Compiles the settings; fails with the key that is wrong, and where in it.
    pub(super) fn new(settings: &FilterSettings) -> Result<Self, SettingsErrors> {
        let expression = settings.expression.as_str();
        if expression.trim().is_empty() {
            return Self::without_expression(settings);
        }
        let filter_type = match settings.filter_type {
            FilterType::Unspecified => inferred(expression),
            given => given,
        };
        match filter_type {
            FilterType::StreamId => {
                scope_must_not_be(settings.scope, FilterScope::Record, "stream, as filterType is streamId")?;
                let stream = StreamName::new(expression)
                    .map_err(|error| SettingsErrors::single(EXPRESSION_KEY, "is empty", error.to_string()))?;
                Ok(Self { source: Source::Stream(stream), path: None })
            }
            FilterType::JsonPath => {
                scope_must_not_be(
                    settings.scope,
                    FilterScope::Stream,
                    "record, as filterType is (or is read as) jsonPath",
                )?;
                let path = JsonPath::compile(expression).map_err(|error| wrong_expression(expression, &error))?;
                Ok(Self { source: Source::Log(EventFilter::All), path: Some(Arc::new(path)) })
            }
            FilterType::Regex => {
                let matcher = Matcher::regex(expression).map_err(|error| wrong_expression(expression, &error))?;
                Self::compared(settings.scope, matcher)
            }
            FilterType::Prefix | FilterType::Unspecified => Self::compared(settings.scope, prefixes(expression)?),
        }
    }

    /// What to subscribe to.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Whether an event that the store handed out is kept.
    pub(super) fn keeps(&self, view: &mut EventView<'_>) -> bool {
        match &self.path {
            None => true,
            Some(path) => view.record().is_some_and(|record| path.matches(record)),
        }
    }

    fn without_expression(settings: &FilterSettings) -> Result<Self, SettingsErrors> {
        if settings.filter_type != FilterType::Unspecified {
            return Err(SettingsErrors::single(EXPRESSION_KEY, "is missing", "an expression, as filterType is given"));
        }
        let filter = match settings.scope {
            FilterScope::Unspecified => EventFilter::ExcludeSystem,
            FilterScope::Stream | FilterScope::Record => EventFilter::All,
        };
        Ok(Self { source: Source::Log(filter), path: None })
    }

    fn compared(scope: FilterScope, matcher: Matcher) -> Result<Self, SettingsErrors> {
        let subject = match scope {
            FilterScope::Stream => FilterSubject::Stream,
            FilterScope::Record => FilterSubject::EventType,
            FilterScope::Unspecified => {
                let expected = "stream (compare the stream's name) or record (compare the event's type)";
                return Err(SettingsErrors::single(SCOPE_KEY, "is missing", expected));
            }
        };
        Ok(Self { source: Source::Log(EventFilter::Where(subject, matcher)), path: None })
    }
}

fn inferred(expression: &str) -> FilterType {
    if expression.starts_with('$') && JsonPath::compile(expression).is_ok() {
        FilterType::JsonPath
    } else if Matcher::regex(expression).is_ok() {
        FilterType::Regex
    } else {
        FilterType::Prefix
    }
}

fn prefixes(expression: &str) -> Result<Matcher, SettingsErrors> {
    let prefixes: Vec<_> =
        expression.split(',').map(str::trim).filter(|prefix| !prefix.is_empty()).map(str::to_owned).collect();
    if prefixes.is_empty() {
        let found = format!("is {expression:?}");
        return Err(SettingsErrors::single(EXPRESSION_KEY, found, "prefixes separated by commas"));
    }
    Ok(Matcher::Prefixes(prefixes))
}

fn scope_must_not_be(given: FilterScope, refused: FilterScope, expected: &str) -> Result<(), SettingsErrors> {
    if given != refused {
        return Ok(());
    }
    let found = if given == FilterScope::Stream { "is \"stream\"" } else { "is \"record\"" };
    let expected = format!("{expected}; set {TYPE_KEY} if something else is meant");
    Err(SettingsErrors::single(SCOPE_KEY, found, expected))
}

fn wrong_expression(expression: &str, error: &dyn std::error::Error) -> SettingsErrors {
    SettingsErrors::single(EXPRESSION_KEY, format!("is {expression:?}"), format!("a valid expression: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::event;
    use forebay_event::RecordedEvent;

    fn settings(scope: FilterScope, filter_type: FilterType, expression: &str) -> FilterSettings {
        FilterSettings { scope, filter_type, expression: expression.to_owned() }
    }

    fn passes(filter: &Filter, event: &RecordedEvent) -> bool {
        let from_store = match filter.source() {
            Source::Log(filter) => filter.matches(event),
            Source::Stream(stream) => stream.as_str() == event.stream(),
        };
        from_store && filter.keeps(&mut EventView::new(event))
    }

    #[test]
    fn types_and_scopes_that_fit_compare_what_they_say() {
        use FilterScope::{Record, Stream, Unspecified};
        use FilterType::{JsonPath, Prefix, Regex, StreamId};
        let order = event("order-1", "OrderPlaced", r#"{"year":2018}"#, "");
        let other = event("preorder-1", "PreOrderPlaced", r#"{"year":2019}"#, "");
        let system = event("$stats", "$statistics", "{}", "");
        for (scope, filter_type, expression, wanted) in [
            (Unspecified, StreamId, "order-1", [true, false, false]),
            (Stream, StreamId, "order-1", [true, false, false]),
            (Stream, Regex, "order", [true, true, false]),
            (Stream, Regex, "^order", [true, false, false]),
            (Record, Regex, "Placed$", [true, true, false]),
            (Stream, Prefix, "order, x", [true, false, false]),
            (Record, Prefix, "Pre,$s", [false, true, true]),
            (Record, JsonPath, "$[?($.value.year==2018)]", [true, false, false]),
            (Unspecified, JsonPath, "$.value", [true, true, true]),
            (Unspecified, FilterType::Unspecified, "", [true, true, false]),
            (Stream, FilterType::Unspecified, "", [true, true, true]),
            (Record, FilterType::Unspecified, "", [true, true, true]),
        ] {
            let filter = Filter::new(&settings(scope, filter_type, expression)).unwrap();
            let found = [&order, &other, &system].map(|event| passes(&filter, event));
            assert_eq!(found, wanted, "{scope:?} {filter_type:?} {expression}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_key() {
        use FilterScope::{Record, Stream, Unspecified};
        use FilterType::{JsonPath, Regex, StreamId};
        for (scope, filter_type, expression, key) in [
            (Stream, JsonPath, "$.value", SCOPE_KEY),
            (Stream, FilterType::Unspecified, "$.value", SCOPE_KEY),
            (Record, StreamId, "order-1", SCOPE_KEY),
            (Unspecified, Regex, "order", SCOPE_KEY),
            (Record, JsonPath, "$.value[", EXPRESSION_KEY),
            (Record, Regex, "(", EXPRESSION_KEY),
            (Stream, Regex, "", EXPRESSION_KEY),
            (Stream, FilterType::Prefix, " , ", EXPRESSION_KEY),
        ] {
            let refused = Filter::new(&settings(scope, filter_type, expression)).unwrap_err();
            assert_eq!(refused.errors[0].key, key, "{refused}");
        }
        let refused = Filter::new(&settings(Record, JsonPath, "$.value[")).unwrap_err();
        assert!(refused.to_string().contains("byte"), "{refused}");
    }

    #[test]
    fn a_missing_type_is_inferred() {
        assert_eq!(inferred("$.value.a"), FilterType::JsonPath);
        assert_eq!(inferred("$not a path("), FilterType::Prefix);
        assert_eq!(inferred("order-1"), FilterType::Regex);
        assert_eq!(inferred("^a|b$"), FilterType::Regex);
        assert_eq!(inferred("a(,b"), FilterType::Prefix);
    }

    #[test]
    fn what_is_not_json_does_not_match_a_path() {
        let filter = Filter::new(&settings(FilterScope::Record, FilterType::JsonPath, "$.schemaInfo")).unwrap();
        assert!(!passes(&filter, &event("s", "T", "not json", "")));
    }
}
