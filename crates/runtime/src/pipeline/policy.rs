//! Owns the policy: which failure is tried again, parks its key, skips its record, or stops the connector.

use forebay_connector::settings::{SettingError, SettingsErrors};
use forebay_connector::{DefaultAction, DefaultRow, Failure, FailureClass, Next, PolicyClass, default_action};

use crate::settings::{ErrorSettings, OnFailure};

const POLICY_KEY: &str = "errors:policy";
/// The most rows a table may have.
const ROWS_MAX: usize = 100;
const CLASSES: &str =
    "connect, timeout, unauthorised, malformed, too-large, script, local, busy, setup, broken, status:404, status:4xx";
const ACTIONS: &str = "retry, park, skip or stop";

/// What a policy wants done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Try again.
    Retry,
    /// Set the record and its key aside.
    Park,
    /// Write down that it was left out, and go on.
    Skip,
    /// End the connector.
    Stop,
}

/// What to do with one record whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wait as the back-off says and try again.
    Wait,
    /// The failure may be that of another record of the batch: try it at once, by itself, before it is judged.
    Alone,
    /// It is final, and this is done; never [`Action::Retry`].
    Final(Action),
}

/// The table of one connector, and what holds for failures that are not in it.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// The most specific first.
    rows: Vec<Row>,
    /// What the kind says of failures without a row.
    defaults: &'static [DefaultRow],
    on_reject: Action,
    on_script_error: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    class: PolicyClass,
    action: Action,
}

impl Policy {
    /// Reads the table; every row that cannot be understood, contradicts another or never applies is named.
    pub(super) fn new(settings: &ErrorSettings, defaults: &'static [DefaultRow]) -> Result<Self, SettingsErrors> {
        let (mut rows, mut errors) = (Vec::<Row>::new(), Vec::new());
        let mut note = |found: String, expected: String| {
            errors.push(SettingError { key: POLICY_KEY.to_owned(), found, expected });
        };
        if settings.policy.len() > ROWS_MAX {
            note(format!("has {} rows", settings.policy.len()), format!("at most {ROWS_MAX}"));
        }
        for text in settings.policy.iter().take(ROWS_MAX) {
            match read_row(text) {
                Ok(row) if rows.iter().any(|known| known.class == row.class) => {
                    note(format!("has {text:?} after another row for the same class"), "one row for each class".into());
                }
                Ok(row) => rows.push(row),
                Err(expected) => note(format!("has {text:?}"), expected),
            }
        }
        SettingsErrors::check(errors)?;
        rows.sort_by_key(|row| row.class.breadth());
        let (on_reject, on_script_error) = (coarse(settings.on_reject), coarse(settings.on_script_error));
        Ok(Self { rows, defaults, on_reject, on_script_error })
    }

    /// What to do after an attempt at one record failed. Unless the sink refused this very record, or it went alone, the
    /// failure may belong to another one of its batch, and nobody is parked, skipped or stopped for another's failure.
    pub(super) fn verdict(&self, failure: &Failure, went_alone: bool) -> Verdict {
        let is_its_own = went_alone || failure.next == Next::Reject;
        match (self.row(failure.class), failure.next) {
            (Some(Action::Retry), _) | (None, Next::Retry { .. }) => Verdict::Wait,
            (Some(action), _) if is_its_own => Verdict::Final(action),
            (Some(_), _) => Verdict::Alone,
            (None, Next::Stop) => Verdict::Final(Action::Stop),
            (None, Next::Reject) => Verdict::Final(self.coarse_for(failure.class)),
        }
    }

    /// What to do with a record that is not tried again: it cannot be delivered at all, or its retries are exhausted.
    pub(super) fn at_last(&self, class: FailureClass) -> Action {
        let row = self.row(class).filter(|action| *action != Action::Retry);
        // What no other record gets past either is no reason to set them aside one by one.
        let stops = default_action(self.defaults, class) == Some(DefaultAction::Stop);
        row.unwrap_or_else(|| if stops { Action::Stop } else { self.coarse_for(class) })
    }

    fn row(&self, class: FailureClass) -> Option<Action> {
        self.rows.iter().find(|row| row.class.holds(class)).map(|row| row.action)
    }

    fn coarse_for(&self, class: FailureClass) -> Action {
        if class == FailureClass::Script { self.on_script_error } else { self.on_reject }
    }
}

fn coarse(on: OnFailure) -> Action {
    match on {
        OnFailure::Stop => Action::Stop,
        OnFailure::Park => Action::Park,
    }
}

/// One row such as `status:4xx=park`; answers what was expected.
fn read_row(text: &str) -> Result<Row, String> {
    let Some((class, action)) = text.split_once('=') else {
        return Err(format!("class=action: a class such as {CLASSES}, and {ACTIONS}"));
    };
    let class = read_class(class.trim())?;
    let action = match action.trim().to_ascii_lowercase().as_str() {
        "retry" => Action::Retry,
        "park" => Action::Park,
        "skip" => Action::Skip,
        "stop" => Action::Stop,
        _ => return Err(format!("{ACTIONS} behind the =")),
    };
    if class == PolicyClass::Named("script") && action == Action::Retry {
        return Err("park, skip or stop: a script that failed on a record fails on it again".to_owned());
    }
    Ok(Row { class, action })
}

fn read_class(text: &str) -> Result<PolicyClass, String> {
    const NAMED: [FailureClass; 10] = [
        FailureClass::Connect,
        FailureClass::Timeout,
        FailureClass::Unauthorised,
        FailureClass::Malformed,
        FailureClass::TooLarge,
        FailureClass::Script,
        FailureClass::Local,
        FailureClass::Busy,
        FailureClass::Setup,
        FailureClass::Broken,
    ];
    let lower = text.to_ascii_lowercase();
    if let Some(class) = NAMED.iter().find(|class| class.label() == lower) {
        return Ok(PolicyClass::Named(class.label()));
    }
    let unknown = || format!("a class: one of {CLASSES}");
    let digits: [u8; 3] =
        lower.strip_prefix("status:").and_then(|digits| digits.as_bytes().try_into().ok()).ok_or_else(unknown)?;
    match &digits {
        b"401" | b"403" | b"407" => return Err("unauthorised, the class of 401, 403 and 407".to_owned()),
        b"413" => return Err("too-large, the class of 413".to_owned()),
        _ => {}
    }
    let [first, second, third] = digits;
    let is_rest = |byte: u8| byte.is_ascii_digit() || byte == b'x';
    let is_status = (b'1'..=b'5').contains(&first) && is_rest(second) && (is_rest(third));
    // `4x4` would be read as a typing mistake by anybody.
    let is_range = second != b'x' || third == b'x';
    if is_status && is_range { Ok(PolicyClass::Status(digits)) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&str]) -> ErrorSettings {
        ErrorSettings { policy: rows.iter().map(|row| (*row).to_owned()).collect(), ..ErrorSettings::default() }
    }

    fn policy(rows: &[&str]) -> Policy {
        Policy::new(&table(rows), &[]).unwrap()
    }

    fn status(number: u16) -> FailureClass {
        FailureClass::Status(number)
    }

    #[test]
    fn the_most_specific_row_holds_whatever_the_order() {
        let policy = policy(&["status:4xx=park", "status:42x=stop", " Status:429 = Retry ", "timeout=skip"]);
        let verdict = |failure: &Failure| policy.verdict(failure, true);
        for (number, wanted) in [
            (400, Verdict::Final(Action::Park)),
            (422, Verdict::Final(Action::Stop)),
            (429, Verdict::Wait),
            (500, Verdict::Final(Action::Stop)),
        ] {
            assert_eq!(verdict(&Failure::reject(status(number), "no")), wanted, "{number}");
        }
        assert_eq!(verdict(&Failure::retry(FailureClass::Timeout, "late")), Verdict::Final(Action::Skip));
        assert_eq!(verdict(&Failure::retry(FailureClass::Connect, "gone")), Verdict::Wait);
    }

    #[test]
    fn without_a_table_the_sink_and_the_coarse_settings_decide() {
        let coarse = ErrorSettings { on_reject: OnFailure::Park, ..ErrorSettings::default() };
        let policy = Policy::new(&coarse, &[]).unwrap();
        for alone in [true, false] {
            let verdict = |failure: &Failure| policy.verdict(failure, alone);
            assert_eq!(verdict(&Failure::retry(status(503), "busy")), Verdict::Wait);
            assert_eq!(verdict(&Failure::reject(status(404), "no")), Verdict::Final(Action::Park));
            assert_eq!(verdict(&Failure::reject(FailureClass::Script, "no")), Verdict::Final(Action::Stop));
            assert_eq!(verdict(&Failure::stop(FailureClass::Unauthorised, "who")), Verdict::Final(Action::Stop));
        }
        assert_eq!(policy.at_last(FailureClass::Timeout), Action::Park);
        assert_eq!(policy.at_last(FailureClass::Script), Action::Stop);
    }

    #[test]
    fn nobody_pays_for_the_failure_of_another_record() {
        let policy = policy(&["timeout=park", "unauthorised=skip", "status:404=skip", "broken=stop"]);
        for failure in [
            Failure::retry(FailureClass::Timeout, "late"),
            Failure::stop(FailureClass::Unauthorised, "who"),
            Failure::retry(FailureClass::Broken, "not sent"),
        ] {
            assert_eq!(policy.verdict(&failure, false), Verdict::Alone);
            assert!(matches!(policy.verdict(&failure, true), Verdict::Final(_)));
        }
        assert_eq!(policy.verdict(&Failure::reject(status(404), "no"), false), Verdict::Final(Action::Skip));
    }

    #[test]
    fn exhausted_retries_fall_back_to_the_coarse_setting() {
        let policy = policy(&["connect=retry", "timeout=park"]);
        assert_eq!(policy.at_last(FailureClass::Connect), Action::Stop);
        assert_eq!(policy.at_last(FailureClass::Timeout), Action::Park);
    }

    #[test]
    fn retries_that_are_exhausted_on_what_concerns_every_record_stop() {
        const DEFAULTS: &[DefaultRow] = &[
            DefaultRow::new(FailureClass::Unauthorised, DefaultAction::Stop),
            DefaultRow::new(FailureClass::Timeout, DefaultAction::Retry),
        ];
        let mut settings = table(&["unauthorised=retry", "timeout=retry"]);
        settings.on_reject = OnFailure::Park;
        let policy = Policy::new(&settings, DEFAULTS).unwrap();
        assert_eq!(policy.verdict(&Failure::stop(FailureClass::Unauthorised, "who"), true), Verdict::Wait);
        assert_eq!(policy.at_last(FailureClass::Unauthorised), Action::Stop);
        assert_eq!(policy.at_last(FailureClass::Timeout), Action::Park);
        let asked = Policy::new(&table(&["unauthorised=park"]), DEFAULTS).unwrap();
        assert_eq!(asked.at_last(FailureClass::Unauthorised), Action::Park);
    }

    #[test]
    fn rows_that_cannot_hold_are_named() {
        for (row, expected) in [
            ("status:4xx", "class=action"),
            ("status:4xx=forget", "retry, park, skip or stop"),
            ("status:600=park", "status:404"),
            ("status:4x4=park", "status:404"),
            ("time-out=park", "timeout"),
            ("=park", "timeout"),
            ("status:401=park", "unauthorised"),
            ("status:413=park", "too-large"),
            ("script=retry", "park, skip or stop"),
        ] {
            let wrong = Policy::new(&table(&[row]), &[]).unwrap_err();
            let [error] = wrong.errors.as_slice() else { panic!("{wrong}") };
            assert_eq!(error.key, POLICY_KEY);
            assert!(error.found.contains(row) && error.expected.contains(expected), "{error}");
        }
        let wrong = Policy::new(&table(&["timeout=park", "TIMEOUT=stop", "x"]), &[]).unwrap_err();
        assert_eq!(wrong.errors.len(), 2, "{wrong}");
    }
}
