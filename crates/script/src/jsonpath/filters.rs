//! Owns the grammar of filters: logic, comparisons and functions, and which of them may stand where.

use serde_json::Value;

use super::ast::{Anchor, Comparison, Operand, Query, Test, TextTest};
use super::error::Problem;
use super::functions::{Extent, Pattern, PatternCache, compile_pattern};
use super::parser::{Parsed, Parser};

/// What stands where an operand may stand: it is not yet known whether it is compared or a test of its own.
enum Term {
    Literal(Value),
    Query(Query),
    Value(Operand, &'static str),
    Test(Test, &'static str),
}

impl Parser<'_> {
    pub(super) fn any(&mut self) -> Parsed<Test> {
        let mut tests = vec![self.all()?];
        while self.eat_after_blanks("||") {
            self.blanks();
            tests.push(self.all()?);
        }
        Ok(single_or(tests, Test::Any))
    }

    fn all(&mut self) -> Parsed<Test> {
        let mut tests = vec![self.basic()?];
        while self.eat_after_blanks("&&") {
            self.blanks();
            tests.push(self.basic()?);
        }
        Ok(single_or(tests, Test::All))
    }

    fn basic(&mut self) -> Parsed<Test> {
        if self.eat("!") {
            self.blanks();
            let test = if self.peek() == Some('(') { self.parenthesised()? } else { self.lone_test()? };
            return Ok(Test::Not(Box::new(test)));
        }
        if self.peek() == Some('(') {
            return self.parenthesised();
        }
        let start = self.at;
        let left = self.term()?;
        let before = self.at;
        self.blanks();
        let Some(comparison) = self.comparison() else {
            self.at = before;
            return self.test_of(left, start);
        };
        let left = self.operand_of(left, start)?;
        self.blanks();
        let start = self.at;
        let right = self.term()?;
        Ok(Test::Compare(left, comparison, self.operand_of(right, start)?))
    }

    fn parenthesised(&mut self) -> Parsed<Test> {
        self.at += 1;
        self.deeper(|parser| {
            parser.blanks();
            let test = parser.any()?;
            if parser.eat_after_blanks(")") { Ok(test) } else { Err(parser.expected("`&&`, `||` or `)`")) }
        })
    }

    fn lone_test(&mut self) -> Parsed<Test> {
        let start = self.at;
        let term = self.term()?;
        self.test_of(term, start)
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let all = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        all.into_iter().find(|(token, _)| self.eat(token)).map(|(_, comparison)| comparison)
    }

    fn test_of(&self, term: Term, start: usize) -> Parsed<Test> {
        match term {
            Term::Query(query) => Ok(Test::Exists(query)),
            Term::Test(test, _) => Ok(test),
            Term::Literal(_) => Err(self.error_at(start, Problem::NotATest { what: "a literal" })),
            Term::Value(_, what) => Err(self.error_at(start, Problem::NotATest { what })),
        }
    }

    fn operand_of(&self, term: Term, start: usize) -> Parsed<Operand> {
        match term {
            Term::Literal(value) => Ok(Operand::Literal(value)),
            Term::Value(operand, _) => Ok(operand),
            Term::Query(query) => match query.into_singular() {
                Ok(singular) => Ok(Operand::Singular(singular)),
                Err(_) => Err(self.error_at(start, Problem::NotSingular)),
            },
            Term::Test(_, function) => Err(self.error_at(start, Problem::NotAValue { function })),
        }
    }

    fn term(&mut self) -> Parsed<Term> {
        match self.peek() {
            Some('\'' | '"') => Ok(Term::Literal(Value::String(self.string()?))),
            Some('-' | '0'..='9') => Ok(Term::Literal(self.number()?)),
            Some('@') => {
                self.at += 1;
                Ok(Term::Query(Query { anchor: Anchor::Current, segments: self.segments()? }))
            }
            Some('$') => {
                self.at += 1;
                Ok(Term::Query(Query { anchor: Anchor::Root, segments: self.segments()? }))
            }
            Some('a'..='z') => self.word(),
            _ => Err(self.expected("a literal, a query that begins with `@` or `$`, a function, `!` or `(`")),
        }
    }

    fn word(&mut self) -> Parsed<Term> {
        let start = self.at;
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        let rest = self.rest();
        let end = rest.find(|letter: char| !is_part(letter)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default().to_owned();
        self.at += end;
        if self.eat("(") {
            return self.deeper(|parser| parser.call(&word, start));
        }
        match word.as_str() {
            "true" => Ok(Term::Literal(Value::Bool(true))),
            "false" => Ok(Term::Literal(Value::Bool(false))),
            "null" => Ok(Term::Literal(Value::Null)),
            _ => Err(self.error_at(start, Problem::Expected("`true`, `false`, `null` or a function with `(`"))),
        }
    }

    // Functions; the opening parenthesis is read.

    fn call(&mut self, name: &str, start: usize) -> Parsed<Term> {
        match name {
            "length" => {
                let arguments = self.arguments("length", 1, start)?;
                let operand = self.value_argument(arguments)?;
                Ok(Term::Value(Operand::Length(Box::new(operand.0)), "the result of length()"))
            }
            "count" => {
                let query = self.nodes_argument("count", start)?;
                Ok(Term::Value(Operand::Count(query), "the result of count()"))
            }
            "value" => {
                let query = self.nodes_argument("value", start)?;
                Ok(Term::Value(Operand::Value(query), "the result of value()"))
            }
            "match" => self.text_test("match", Extent::Whole, start),
            "search" => self.text_test("search", Extent::Part, start),
            _ => Err(self.error_at(start, Problem::UnknownFunction { name: name.to_owned() })),
        }
    }

    fn arguments(&mut self, function: &'static str, wanted: usize, start: usize) -> Parsed<Vec<(Term, usize)>> {
        let mut arguments = Vec::new();
        self.blanks();
        if !self.eat(")") {
            loop {
                self.blanks();
                let at = self.at;
                arguments.push((self.term()?, at));
                if self.eat_after_blanks(")") {
                    break;
                }
                if !self.eat(",") {
                    return Err(self.expected("`,` or `)`"));
                }
            }
        }
        if arguments.len() != wanted {
            return Err(self.error_at(start, Problem::ArgumentCount { function, wanted, given: arguments.len() }));
        }
        Ok(arguments)
    }

    fn value_argument(&self, arguments: impl IntoIterator<Item = (Term, usize)>) -> Parsed<(Operand, usize)> {
        let Some((term, at)) = arguments.into_iter().next() else {
            return Err(self.expected("an argument"));
        };
        Ok((self.operand_of(term, at)?, at))
    }

    fn nodes_argument(&mut self, function: &'static str, start: usize) -> Parsed<Query> {
        let mut arguments = self.arguments(function, 1, start)?;
        match arguments.pop() {
            Some((Term::Query(query), _)) => Ok(query),
            Some((_, at)) => Err(self.error_at(at, Problem::Expected("a query that begins with `@` or `$`"))),
            None => Err(self.expected("an argument")),
        }
    }

    fn text_test(&mut self, function: &'static str, extent: Extent, start: usize) -> Parsed<Term> {
        let mut arguments = self.arguments(function, 2, start)?.into_iter();
        let (subject, _) = self.value_argument(arguments.next())?;
        let (pattern, at) = self.value_argument(arguments.next())?;
        let pattern = match pattern {
            Operand::Literal(Value::String(pattern)) => match compile_pattern(&pattern, extent) {
                Ok(regex) => Pattern::Literal(regex),
                Err(reason) => return Err(self.error_at(at, Problem::Pattern { pattern, reason })),
            },
            Operand::Literal(_) => Pattern::Never,
            operand => Pattern::Dynamic(Box::new(operand), PatternCache::new(extent)),
        };
        Ok(Term::Test(Test::Text(TextTest { subject, pattern }), function))
    }
}

fn single_or(mut tests: Vec<Test>, several: impl FnOnce(Vec<Test>) -> Test) -> Test {
    match (tests.len(), tests.pop()) {
        (1, Some(test)) => test,
        (_, last) => {
            tests.extend(last);
            several(tests)
        }
    }
}
