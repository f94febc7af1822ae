//! Owns the rules of a connector's id and name.

use super::Violation;

/// The shortest and longest id, in characters.
const ID_LENGTH: std::ops::RangeInclusive<usize> = 5..=50;
/// The shortest and longest name, in characters.
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=50;

/// All that is wrong with an id.
pub(crate) fn id_violations(id: &str) -> Vec<Violation> {
    let violation = |problem: String| Violation { field: "ConnectorId", problem };
    if id.trim().is_empty() {
        return vec![violation("must not be empty".to_owned())];
    }
    let mut found = Vec::new();
    if !ID_LENGTH.contains(&id.chars().count()) {
        let (least, most) = (ID_LENGTH.start(), ID_LENGTH.end());
        found.push(violation(format!("must be between {least} and {most} characters long")));
    }
    if !id.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_') {
        found.push(violation("can only contain alphanumeric characters, hyphens, and underscores".to_owned()));
    }
    found
}

/// All that is wrong with a name.
pub(crate) fn name_violations(name: &str) -> Vec<Violation> {
    if NAME_LENGTH.contains(&name.chars().count()) && !name.trim().is_empty() {
        return Vec::new();
    }
    let (least, most) = (NAME_LENGTH.start(), NAME_LENGTH.end());
    vec![Violation { field: "Name", problem: format!("must be between {least} and {most} characters long") }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_five_to_fifty_plain_characters_pass() {
        for (id, problems) in [
            ("abcd", 1),
            ("abcde", 0),
            (&*"a".repeat(50), 0),
            (&*"a".repeat(51), 1),
            ("", 1),
            ("  ", 1),
            ("a.b", 2),
            ("orders.1", 1),
            ("Ordérs", 1),
            ("A_b-9", 0),
        ] {
            assert_eq!(id_violations(id).len(), problems, "{id}");
        }
    }

    #[test]
    fn names_of_three_to_fifty_characters_pass() {
        for (name, problems) in [("ab", 1), ("abc", 0), ("   ", 1), (&*"é".repeat(50), 0), (&*"a".repeat(51), 1)] {
            assert_eq!(name_violations(name).len(), problems, "{name}");
        }
    }
}
