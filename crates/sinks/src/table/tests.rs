//! Tests of plans and progress, without a database.

use forebay_connector::testing::samples::sample_record;
use forebay_connector::{Epoch, FailureClass, Next};
use forebay_event::Position;

use super::{Cell, DataType, Dialect, Item, Mode, Plan, Progress, Row, TableSettings, positions_table};

fn append(data_type: DataType) -> TableSettings {
    TableSettings {
        mode: Mode::Append,
        table: Some("a.b".to_owned()),
        data_type,
        create_table: true,
        positions_table: positions_table(),
        ..TableSettings::default()
    }
}

#[test]
fn the_sql_of_mode_append() {
    let plan = Plan::new(&append(DataType::Jsonb), Dialect::Postgres).unwrap();
    assert_eq!(plan.creates[0], "CREATE SCHEMA IF NOT EXISTS \"a\"");
    assert!(plan.creates[1].contains("\"data\" jsonb, \"metadata\" jsonb, \"created\" timestamptz NOT NULL"));
    assert!(plan.creates[2].starts_with("CREATE TABLE IF NOT EXISTS \"forebay_positions\""));
    assert_eq!(
        plan.statements[0],
        "INSERT INTO \"a\".\"b\" (\"position\", \"stream\", \"revision\", \"type\", \"data\", \"metadata\", \"created\", \
         \"event_id\") VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
    );
    let bulk = plan.bulk.unwrap();
    assert!(bulk.contains("r.\"data\"::jsonb") && bulk.contains("unnest($1::text[], $2::text[]"), "{bulk}");
}

#[test]
fn data_takes_the_form_that_was_asked_for() {
    let record = sample_record(1);
    let data = |data_type| {
        let plan = Plan::new(&append(data_type), Dialect::Sqlite).unwrap();
        plan.command(&record).unwrap().unwrap().cells[4].clone()
    };
    assert_eq!(data(DataType::Jsonb), Cell::Text("{\"number\":1}".to_owned()));
    assert_eq!(data(DataType::Bytes), Cell::Bytes(record.data()));
}

fn row(epoch: u64, session: &str, token: &str, position: u64) -> Row {
    Row { epoch, session: session.to_owned(), token: token.to_owned(), position: Some(Position::new(position)) }
}

fn item(position: u64) -> Item {
    Item { position: Position::new(position), parked: None, command: Ok(None) }
}

#[test]
fn a_commit_in_doubt_is_settled_by_its_token() {
    for has_happened in [true, false] {
        let mut progress = Progress::new();
        progress.answer(Some(Position::new(5)));
        let claim = progress.claim(&row(1, "", "", 5), Epoch(1)).unwrap();
        let doubt = progress.begin(vec![Position::new(6), Position::new(7)], false);
        progress.doubt(doubt.clone());
        let token = if has_happened { doubt.token.as_str() } else { "" };
        let position = if has_happened { 7 } else { 5 };
        progress.claim(&row(1, &claim.session, token, position), Epoch(1)).unwrap();
        assert_eq!(progress.is_delivered(&item(6)), has_happened);
        assert!(!progress.is_delivered(&item(5)) && !progress.is_delivered(&item(8)));
    }
}

#[test]
fn a_newer_epoch_or_another_claim_of_ours_fences() {
    let mut progress = Progress::new();
    let failure = progress.claim(&row(2, "", "", 5), Epoch(1)).unwrap_err();
    assert_eq!((failure.next, failure.class), (Next::Stop, FailureClass::Fenced));
    progress.claim(&row(1, "other/1", "", 5), Epoch(1)).unwrap();
    assert!(progress.claim(&row(1, "other/2", "", 5), Epoch(1)).is_err());
}

#[test]
fn what_one_doubt_has_shown_is_not_forgotten_over_the_next() {
    let mut progress = Progress::new();
    progress.answer(None);
    let mut claim = progress.claim(&Row::default(), Epoch(1)).unwrap();
    for positions in [vec![Position::new(6), Position::new(7)], vec![Position::new(8)]] {
        let doubt = progress.begin(positions, false);
        progress.doubt(doubt.clone());
        claim = progress.claim(&row(1, &claim.session, &doubt.token, 8), Epoch(1)).unwrap();
    }
    assert!((6..9).all(|position| progress.is_delivered(&item(position))));
    progress.answered([item(6)].iter());
    assert!(!progress.is_delivered(&item(6)) && progress.is_delivered(&item(7)));
}

#[test]
fn what_was_parked_leaves_the_position_and_ignores_it() {
    let mut progress = Progress::new();
    progress.answer(Some(Position::new(5)));
    progress.claim(&row(1, "", "", 9), Epoch(1)).unwrap();
    let parked = |position| Item { parked: Some(position + 100), ..item(position) };
    assert!(progress.is_delivered(&item(7)) && !progress.is_delivered(&parked(7)));
    let doubt = progress.begin(vec![Position::new(7)], true);
    assert_eq!(doubt.standing, None);
    progress.doubt(doubt);
    progress.confirm();
    progress.answered([parked(7)].iter());
    assert_eq!(progress.heard(), [107]);
    progress.found([Position::new(8)].into_iter());
    assert!(progress.is_delivered(&parked(8)));
    let first = progress.begin(vec![Position::new(6)], false);
    assert_eq!(first.standing, Some(Position::new(6)), "a replay before it is no commit of its own lane");
}
