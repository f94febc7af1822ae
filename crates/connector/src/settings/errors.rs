//! Owns what is wrong with settings.

/// One setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting {key} {found}: expected {expected}")]
pub struct SettingError {
    /// The key, as the user gave it.
    pub key: String,
    /// What was found: `is "abc"`, `is missing`, `is not known`; secrets are not shown.
    pub found: String,
    /// What is expected there; for an unknown key the nearest that is known.
    pub expected: String,
}

/// All settings that are wrong, found in one pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingsErrors {
    /// At least one.
    pub errors: Vec<SettingError>,
}

impl SettingsErrors {
    /// One wrong setting.
    pub fn single(key: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { errors: vec![SettingError { key: key.into(), found: found.into(), expected: expected.into() }] }
    }

    /// Fails when there are any.
    pub fn check(errors: Vec<SettingError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self { errors }) }
    }

    /// Adds the errors of a result, if any, and hands on its value.
    pub fn gather<T>(errors: &mut Vec<SettingError>, result: Result<T, Self>) -> Option<T> {
        result.map_err(|wrong| errors.extend(wrong.errors)).ok()
    }

    /// Both values, or all that is wrong with either.
    pub fn both<A, B>(first: Result<A, Self>, second: Result<B, Self>) -> Result<(A, B), Self> {
        match (first, second) {
            (Ok(first), Ok(second)) => Ok((first, second)),
            (Err(first), Err(second)) => Err(first.merge(second)),
            (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
        }
    }

    /// These and others.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.errors.extend(other.errors);
        self
    }
}
