//! Owns the page about the HTTP API: every route of the OpenAPI document.

use serde_json::Value;

use crate::page::{Page, cell, line};

const METHODS: &[&str] = &["get", "post", "put", "patch", "delete", "head"];

/// The page of all routes.
pub(crate) fn page(document: &Value) -> Page {
    let mut body = String::from("The server answers the whole document at `/openapi.json`.\n\n");
    body.push_str("| method | path | what it does | answers |\n| --- | --- | --- | --- |\n");
    for (path, operations) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        for method in METHODS {
            if let Some(operation) = operations.get(*method) {
                row(&mut body, method, path, operation);
            }
        }
    }
    Page {
        name: "http-api.md".to_owned(),
        title: "HTTP API".to_owned(),
        summary: "Every route, what it does and how it answers.".to_owned(),
        body,
    }
}

fn row(body: &mut String, method: &str, path: &str, operation: &Value) {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let says = text("summary").or_else(|| text("description")).unwrap_or_default();
    let codes = operation.get("responses").and_then(Value::as_object);
    let codes: Vec<&str> = codes.into_iter().flatten().map(|(code, _)| code.as_str()).collect();
    line(body, format_args!("| {} | `{path}` | {} | {} |", method.to_uppercase(), cell(says), codes.join(", ")));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_method_of_a_path_is_a_row() {
        let document = json!({"paths": {"/connectors/{id}": {
            "get": {"summary": "Answers one.", "responses": {"200": {}, "404": {}}},
            "post": {"summary": "Creates it.", "responses": {"200": {}}},
            "parameters": [],
        }}});
        let body = page(&document).body;
        assert!(body.contains("| GET | `/connectors/{id}` | Answers one. | 200, 404 |"), "{body}");
        assert!(body.contains("| POST | `/connectors/{id}` | Creates it. | 200 |"), "{body}");
    }
}
