//! Owns `connectors create`.

use serde_json::json;

use super::args::CreateArgs;
use super::change::{self, Effect};
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::Output;
use crate::settings_file::{Settings, get, put};

/// The settings that say where a connector begins.
const START_KEYS: [&str; 2] = ["subscription:initialPosition", "subscription:startPosition"];

pub(super) async fn create(client: &Client, args: CreateArgs, output: &mut Output) -> Result<(), Failure> {
    let mut settings = args.settings.over(Settings::new())?;
    if let Some(kind) = &args.kind {
        put(&mut settings, "instanceTypeName", kind.clone());
    }
    check(&args, &settings)?;
    let mut body = json!({ "settings": settings });
    if let (Some(name), Some(body)) = (&args.name, body.as_object_mut()) {
        body.insert("name".to_owned(), name.as_str().into());
    }
    let id = args.id.as_str();
    let ask = Ask::post(&["connectors", id], format!("create connector {id}")).json(&body);
    client.ask(ask).await?;
    if !args.start {
        let text = format!("created connector {id}; `forebay connectors start {id}` starts it");
        return output.done(&text, &json!({"connectorId": id, "done": "created"}));
    }
    let effect = Effect { id, done: "created and started", wanted: "running" };
    let started = async {
        client.ask(change::start_request(id, args.from.as_deref())).await?;
        change::finish(client, &effect, &args.wait, output).await
    };
    started.await.map_err(|cause| Failure::Partly {
        done: format!("connector {id} is created but does not run"),
        cause: Box::new(cause),
    })
}

fn check(args: &CreateArgs, settings: &Settings) -> Result<(), Failure> {
    if get(settings, "instanceTypeName").is_none() {
        let expected = "--kind KIND, or instanceTypeName among the settings; `forebay connectors describe` lists kinds";
        return Err(Failure::usage("--kind", "no kind is given", expected));
    }
    let says_start = START_KEYS.iter().any(|key| get(settings, key).is_some());
    if args.start && args.from.is_none() && !says_start {
        let expected = "--from earliest, --from latest or --from POSITION with --start";
        return Err(Failure::usage("--from", "neither it nor the settings say where to begin", expected));
    }
    Ok(())
}
