//! Owns where passwords come from: files, standard input, the environment; never an argument, which others can see.

use std::io::Read;
use std::path::Path;

use crate::failure::Failure;

/// The variable of the password to sign in with.
const VARIABLE: &str = "FOREBAY_PASSWORD";
/// Of a file or of standard input so many bytes are read at most.
const SIZE_MAX: u64 = 4096;

/// The password to sign in with: from the file if one is named, else from the environment.
pub(crate) fn to_sign_in(file: Option<&Path>) -> Result<String, Failure> {
    match file {
        Some(file) => first_line(file),
        None => std::env::var(VARIABLE)
            .map_err(|_| Failure::usage("--user", "without a password", "--password-file, or FOREBAY_PASSWORD")),
    }
}

/// The first line of a file; of standard input if the file is `-`.
pub(crate) fn first_line(file: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::File { path: file.to_owned(), error };
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(SIZE_MAX).read_to_string(&mut text).map_err(failed)?;
    } else {
        std::fs::File::open(file).map_err(failed)?.take(SIZE_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => {
            Err(Failure::usage("FILE", format!("{} begins with no password", file.display()), "one in its first line"))
        }
    }
}
