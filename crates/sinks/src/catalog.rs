//! Owns the list of sinks in this build.

use forebay_connector::Catalog;

use crate::{console, file, http, postgres, serilog, sqlite};

/// Every sink of this build, by name and alias.
pub fn catalog() -> Catalog {
    Catalog::new(vec![console::KIND, serilog::KIND, file::KIND, http::KIND, postgres::KIND, sqlite::KIND])
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_connector::{DefaultAction, FailureClass, default_action};

    #[test]
    fn names_and_aliases_lead_to_their_kind() {
        let catalog = catalog();
        let name = |alias: &str| catalog.find(alias).map(|kind| kind.name);
        for (alias, kind) in [
            ("http-sink", "http-sink"),
            ("HttpSink", "http-sink"),
            ("logger-sink", "console-sink"),
            ("SerilogSink", "serilog-sink"),
            ("file-sink", "file-sink"),
        ] {
            assert_eq!(name(alias), Some(kind));
        }
        assert_eq!(name("Http-Sink"), None);
    }

    #[test]
    fn every_kind_has_a_policy_with_one_row_for_each_class() {
        for kind in catalog().kinds() {
            for class in [FailureClass::Timeout, FailureClass::Broken] {
                // The runtime itself finds these.
                assert_eq!(default_action(kind.policy, class), Some(DefaultAction::Retry), "{}", kind.name);
            }
            for (index, row) in kind.policy.iter().enumerate() {
                let others = kind.policy.iter().skip(index + 1);
                assert!(others.clone().all(|other| other.class != row.class), "{} has {} twice", kind.name, row.class);
            }
        }
    }

    #[test]
    fn every_setting_has_a_manual() {
        for kind in catalog().kinds() {
            assert!(!kind.page.trim().is_empty() && !kind.summary.is_empty(), "{} has no page", kind.name);
            for setting in (kind.settings)() {
                assert!(!setting.doc.is_empty(), "{} of {} has no doc", setting.key, kind.name);
            }
        }
    }
}
