//! Owns the view of a Rust file without its comments and literals, and where its tests begin.

/// The lines of a file with comments and the insides of literals blanked, so that a word found in one is code.
pub(super) fn code_lines(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut lines = vec![String::new()];
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let length = skipped(&characters, at);
        if length == 0 {
            put(&mut lines, character);
            at += 1;
        } else {
            let end = (at + length).min(characters.len());
            let blanks =
                characters.get(at..end).unwrap_or_default().iter().map(|c| if *c == '\n' { '\n' } else { ' ' });
            blanks.for_each(|blank| put(&mut lines, blank));
            at = end;
        }
    }
    lines
}

fn put(lines: &mut Vec<String>, character: char) {
    if character == '\n' {
        lines.push(String::new());
    } else if let Some(line) = lines.last_mut() {
        line.push(character);
    }
}

/// How many characters from here on are a comment or a literal; 0 if code stands here.
fn skipped(characters: &[char], at: usize) -> usize {
    let rest = characters.get(at..).unwrap_or_default();
    let before = at.checked_sub(1).and_then(|index| characters.get(index));
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || *c == '_');
    match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => text_literal(rest, 1),
        ['b' | 'c', '"', ..] if !in_word => text_literal(rest, 2),
        ['r', '"' | '#', ..] if !in_word => raw_literal(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !in_word => raw_literal(rest, 2),
        ['\'', '\\', ..] => rest.iter().skip(3).position(|c| *c == '\'').map_or(0, |found| found + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest.get(at..).unwrap_or_default() {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn text_literal(rest: &[char], opening: usize) -> usize {
    let mut at = opening;
    while let Some(character) = rest.get(at) {
        match character {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_literal(rest: &[char], prefix: usize) -> usize {
    let hashes = rest.iter().skip(prefix).take_while(|c| **c == '#').count();
    // `r#name` is an identifier, not a literal.
    if rest.get(prefix + hashes) != Some(&'"') {
        return 0;
    }
    let mut at = prefix + hashes + 1;
    while at < rest.len() {
        let closes = rest.get(at) == Some(&'"')
            && rest.iter().skip(at + 1).take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    rest.len()
}

/// The index of the line where the tests that close a file begin; the number of lines if there are none.
pub(super) fn tests_begin(code: &[String]) -> usize {
    let opens_module = |index: usize| {
        let next = code
            .iter()
            .skip(index + 1)
            .map(|line| line.trim())
            .find(|line| !line.is_empty() && !line.starts_with("#["));
        next.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    let found = code.iter().enumerate().position(|(index, line)| line.trim() == "#[cfg(test)]" && opens_module(index));
    found.unwrap_or(code.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let text = "let a = \"fn x() // \\\" {\"; // fn y()\n/* fn /* z */\n */ let b = r#\"fn \" q\"#; let c = '\"'; fn d<'a>() {}\n";
        let code = code_lines(text);
        assert_eq!(code.len(), 4);
        assert!(!code[0].contains("fn"), "{}", code[0]);
        assert!(code[2].contains("fn d<'a>()") && !code[2].contains('q'), "{}", code[2]);
    }

    #[test]
    fn an_escaped_quote_ends_its_literal() {
        let code = code_lines("let a = '\\''; fn b() {} let c = b\"x\"; let r#fn = 1;");
        assert!(code[0].contains("fn b()"));
        assert!(code[0].contains("r#fn"));
    }

    #[test]
    fn tests_begin_at_the_module_and_not_at_its_declaration() {
        let declared = code_lines("#[cfg(test)]\nmod tests;\nfn x() {}\n");
        assert_eq!(tests_begin(&declared), declared.len());
        assert_eq!(tests_begin(&code_lines("fn x() {}\n#[cfg(test)]\nmod tests {\n}\n")), 1);
    }
}
