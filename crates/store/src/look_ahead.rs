//! Owns taking apart an expression that begins with a negative look-ahead, which no linear matcher knows as a whole.

/// What stands for "does not begin with".
const OPENING: &str = "^(?!";

/// Splits `^(?!A)B` into `A` and `B`; none when the expression does not begin so. An alternative beside the look-ahead
/// would not be under it, so that is refused.
pub(crate) fn split(expression: &str) -> Option<Result<(&str, &str), &'static str>> {
    let inside = expression.strip_prefix(OPENING)?;
    let scanned = scan(inside);
    Some(match scanned.end {
        None => Err("the look-ahead is not closed"),
        Some(_) if scanned.has_alternative => {
            Err("an alternative stands beside the look-ahead: expected it in parentheses")
        }
        Some(end) => Ok((inside.get(..end).unwrap_or_default(), inside.get(end + 1..).unwrap_or_default())),
    })
}

/// What a walk over the text behind the opening found.
struct Scanned {
    /// Where the group's parenthesis closes.
    end: Option<usize>,
    /// Whether a `|` stands outside of all groups behind it.
    has_alternative: bool,
}

fn scan(text: &str) -> Scanned {
    let mut scanned = Scanned { end: None, has_alternative: false };
    let mut depth = 1_usize;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '[' => skip_class(&mut characters),
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && scanned.end.is_none() {
                    scanned.end = Some(at);
                }
            }
            '|' if depth == 0 => scanned.has_alternative = true,
            _ => {}
        }
    }
    scanned
}

/// Skips a character class, whose first character may be a bracket that is meant literally.
fn skip_class(characters: &mut std::iter::Peekable<std::str::CharIndices<'_>>) {
    characters.next_if(|(_, character)| *character == '^');
    characters.next_if(|(_, character)| *character == ']');
    let mut depth = 1_usize;
    while depth > 0 {
        match characters.next() {
            Some((_, '\\')) => drop(characters.next()),
            Some((_, '[')) => depth += 1,
            Some((_, ']')) => depth -= 1,
            Some(_) => {}
            None => return,
        }
    }
}
