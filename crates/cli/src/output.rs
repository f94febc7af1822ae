//! Owns where results, notes and errors go.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use serde_json::Value;

use crate::failure::Failure;

/// The two ways out of a command: results to `out`, everything else to `err`.
pub(crate) struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    json: bool,
    quiet: bool,
    terminal: bool,
    /// Where a person answers questions; none when nobody is there.
    answers: Option<Box<dyn BufRead + Send>>,
}

/// An answer is at most so long, in bytes.
const ANSWER_BYTES_MAX: u64 = 100;

impl Output {
    /// Standard output and standard error of this process.
    pub(crate) fn standard() -> Self {
        let terminal = io::stderr().is_terminal();
        let answers = (terminal && io::stdin().is_terminal())
            .then(|| Box::new(BufReader::new(io::stdin())) as Box<dyn BufRead + Send>);
        Self { out: Box::new(io::stdout()), err: Box::new(io::stderr()), json: false, quiet: false, terminal, answers }
    }

    /// Any two writers: for tests.
    #[cfg(test)]
    pub(crate) fn to(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), err: Box::new(err), json: false, quiet: false, terminal: false, answers: None }
    }

    /// Whoever asks is answered from a text: for tests.
    #[cfg(test)]
    pub(crate) fn answering(self, answers: &'static str) -> Self {
        Self { answers: Some(Box::new(answers.as_bytes())), ..self }
    }

    /// Sets how to speak.
    pub(crate) fn speak(&mut self, json: bool, quiet: bool) {
        (self.json, self.quiet) = (json, quiet);
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether somebody watches progress.
    pub(crate) fn shows_progress(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Writes a part of the result for people.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Writes the whole result as indented JSON.
    pub(crate) fn document(&mut self, value: &Value) -> Result<(), Failure> {
        self.text(&format!("{value:#}\n"))
    }

    /// Writes one of many results as a line of JSON.
    pub(crate) fn line(&mut self, value: &impl std::fmt::Display) -> Result<(), Failure> {
        self.text(&format!("{value}\n"))
    }

    /// Tells that a command is done: text for people, an object for programs.
    pub(crate) fn done(&mut self, text: &str, value: &Value) -> Result<(), Failure> {
        match (self.json, self.quiet) {
            (true, _) => self.document(value),
            (false, false) => self.text(&format!("{text}\n")),
            (false, true) => Ok(()),
        }
    }

    /// Tells something beside the result, to whoever watches. A note that cannot be written is no failure.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.quiet {
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// Asks whether to go on; none when nobody is there to answer. Only a clear yes is one.
    pub(crate) fn ask(&mut self, question: &str) -> Result<Option<bool>, Failure> {
        let Some(answers) = &mut self.answers else { return Ok(None) };
        write!(self.err, "{question} [y/N] ")?;
        self.err.flush()?;
        let mut answer = String::new();
        answers.take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
        Ok(Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
    }

    /// Draws the line of progress anew.
    pub(crate) fn progress(&mut self, text: &str) {
        if self.shows_progress() {
            let _ = write!(self.err, "\r\x1b[K{text}");
            let _ = self.err.flush();
        }
    }

    /// Takes the line of progress away.
    pub(crate) fn clear_progress(&mut self) {
        self.progress("");
    }

    /// Tells why the command failed, and what to do next.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if failure.exit_code() == 0 {
            return;
        }
        self.clear_progress();
        let _ = if self.json {
            writeln!(self.err, "{}", failure.to_json())
        } else {
            let hint = failure.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            writeln!(self.err, "error: {failure}{hint}")
        };
    }
}
