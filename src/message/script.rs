//! Texts of SQL, as far as they can be told without a database: where a statement ends and the next one begins, and whether
//! it begins or ends a transaction.
//!
//! Tokens are those of SQLite (<https://sqlite.org/draft/tokenreq.html>), and a statement ends where `sqlite3_complete`
//! says it does (<https://sqlite.org/c3ref/complete.html>): at a semicolon, but in a trigger at the one after its END.
//! Whatever does not look exactly like transaction control is left to SQLite to judge.

/// What a statement is, by its first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Begin(Mode),
    /// COMMIT or END.
    Commit,
    Rollback,
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    Pragma {
        name: String,
        /// What it is to be set to, or asked about.
        value: Option<String>,
    },
    /// Reads for certain, or fails.
    Read,
    /// A WITH: only SQLite can tell what comes of it.
    Unclear,
    /// Anything else, nothing included.
    Other,
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It locks nothing before its first statement.
    Deferred,
    /// It is to write, at once. EXCLUSIVE is the same where readers read beside a writer.
    Immediate,
    /// It may not write.
    ReadOnly,
}

/// The statements of a text, without those that are empty.
pub(crate) fn statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut begin, mut end) = (None, Ending::default());
    for token in Tokens::of(text) {
        let first = *begin.get_or_insert(token.at);
        end = end.after(token.text);
        if end == Ending::Complete {
            // What is nothing but a semicolon is no statement.
            if first < token.at {
                found.push(&text[first..token.at]);
            }
            (begin, end) = (None, Ending::default());
        }
    }
    found.extend(begin.map(|first| &text[first..]));
    found
}

/// Where in a statement one is; the states of `sqlite3_complete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ending {
    #[default]
    Start,
    /// In a statement that ends at the next semicolon.
    Plain,
    /// After EXPLAIN.
    Explain,
    /// After CREATE, TEMP or TEMPORARY.
    Create,
    /// In a trigger.
    Trigger,
    /// After a semicolon in a trigger.
    TriggerSemicolon,
    /// After an END that follows a semicolon in a trigger.
    TriggerEnd,
    Complete,
}

impl Ending {
    fn after(self, token: &str) -> Self {
        let is = |word: &str| token.eq_ignore_ascii_case(word);
        match self {
            Self::Trigger | Self::TriggerSemicolon | Self::TriggerEnd => match token {
                ";" if self == Self::TriggerEnd => Self::Complete,
                ";" => Self::TriggerSemicolon,
                _ if is("END") && self == Self::TriggerSemicolon => Self::TriggerEnd,
                _ => Self::Trigger,
            },
            _ if token == ";" => Self::Complete,
            Self::Start if is("EXPLAIN") => Self::Explain,
            Self::Start | Self::Explain if is("CREATE") => Self::Create,
            Self::Explain
                if !["EXPLAIN", "TEMP", "TEMPORARY", "TRIGGER", "END"].iter().any(|word| is(word)) =>
            {
                self
            }
            Self::Create if is("TEMP") || is("TEMPORARY") => Self::Create,
            Self::Create if is("TRIGGER") => Self::Trigger,
            _ => Self::Plain,
        }
    }
}

/// What kind of statement it is.
pub(crate) fn kind(sql: &str) -> Kind {
    let mut tokens = Tokens::of(sql).map(|token| token.text).peekable();
    let first = tokens.next().unwrap_or_default();
    let is = |word: &str| first.eq_ignore_ascii_case(word);
    // The common ones first: this is asked of every statement.
    if is("INSERT") || is("UPDATE") || is("DELETE") || is("REPLACE") {
        return Kind::Other;
    }
    if is("SELECT") || is("VALUES") || is("EXPLAIN") {
        return Kind::Read;
    }
    if is("WITH") {
        return Kind::Unclear;
    }
    if is("PRAGMA") {
        return pragma(tokens).unwrap_or(Kind::Other);
    }
    let is_control =
        ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"].iter().any(|word| is(word));
    if !is_control {
        return Kind::Other;
    }
    let words: Vec<&str> = tokens.collect();
    let end = words.iter().rposition(|word| *word != ";").map_or(0, |last| last + 1);
    control(first, &words[..end]).unwrap_or(Kind::Other)
}

fn control(first: &str, rest: &[&str]) -> Option<Kind> {
    let upper: Vec<String> = rest.iter().map(|word| word.to_ascii_uppercase()).collect();
    let words: Vec<&str> = upper.iter().map(String::as_str).collect();
    let name_at = |place: usize| rest.get(place).and_then(|word| identifier(word));
    Some(match (first.to_ascii_uppercase().as_str(), words.as_slice()) {
        ("BEGIN", [] | ["TRANSACTION" | "DEFERRED"] | ["DEFERRED", "TRANSACTION"]) => {
            Kind::Begin(Mode::Deferred)
        }
        ("BEGIN", ["IMMEDIATE" | "EXCLUSIVE"] | ["IMMEDIATE" | "EXCLUSIVE", "TRANSACTION"]) => {
            Kind::Begin(Mode::Immediate)
        }
        ("BEGIN", ["READONLY"] | ["TRANSACTION", "READONLY"] | ["READONLY", "TRANSACTION"]) => {
            Kind::Begin(Mode::ReadOnly)
        }
        ("COMMIT" | "END", [] | ["TRANSACTION"]) => Kind::Commit,
        ("ROLLBACK", [] | ["TRANSACTION"]) => Kind::Rollback,
        ("ROLLBACK", ["TO", _]) => Kind::RollbackTo(name_at(1)?),
        ("ROLLBACK", ["TO", "SAVEPOINT", _] | ["TRANSACTION", "TO", _]) => Kind::RollbackTo(name_at(2)?),
        ("ROLLBACK", ["TRANSACTION", "TO", "SAVEPOINT", _]) => Kind::RollbackTo(name_at(3)?),
        ("SAVEPOINT", [_]) => Kind::Savepoint(name_at(0)?),
        ("RELEASE", [_]) => Kind::Release(name_at(0)?),
        ("RELEASE", ["SAVEPOINT", _]) => Kind::Release(name_at(1)?),
        _ => return None,
    })
}

/// `PRAGMA [schema.]name [= value | (value)]`.
fn pragma<'a>(mut tokens: impl Iterator<Item = &'a str>) -> Option<Kind> {
    let mut name = tokens.next()?;
    let mut next = tokens.next();
    if next == Some(".") {
        name = tokens.next()?;
        next = tokens.next();
    }
    let value = match next {
        None | Some(";") => None,
        Some("=" | "(") => Some(tokens.next().map(|value| identifier(value).unwrap_or(value.to_owned()))?),
        Some(_) => return None,
    };
    Some(Kind::Pragma { name: identifier(name)?.to_ascii_lowercase(), value })
}

/// A name without its quotes; none if it is not one.
fn identifier(token: &str) -> Option<String> {
    let first = token.chars().next()?;
    let quoted = |close: char| {
        let inner = token.strip_prefix(first)?.strip_suffix(close)?;
        Some(if close == ']' {
            inner.to_owned()
        } else {
            inner.replace(&format!("{close}{close}"), &close.to_string())
        })
    };
    match first {
        '"' | '`' | '\'' => quoted(first),
        '[' => quoted(']'),
        _ if first.is_alphanumeric() || first == '_' => Some(token.to_owned()),
        _ => None,
    }
}

struct Token<'a> {
    at: usize,
    text: &'a str,
}

/// The tokens of a text without blanks and comments: words, quoted texts, and every other character by itself.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Blanks and comments, which may run to the end of the text.
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let after = |end: &str| rest.find(end).map_or(rest.len(), |place| place + end.len());
            let bytes = rest.as_bytes();
            self.at += match bytes {
                [b' ' | b'\t' | b'\n' | b'\r' | b'\x0c', ..] => 1,
                // A mark of byte order is blank to SQLite.
                _ if rest.starts_with('\u{feff}') => '\u{feff}'.len_utf8(),
                [b'-', b'-', ..] => after("\n"),
                [b'/', b'*', ..] => {
                    rest.get(2..).and_then(|inner| inner.find("*/")).map_or(rest.len(), |place| place + 4)
                }
                _ => return,
            };
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || !letter.is_ascii();
        let length = match first {
            '"' | '`' | '\'' => quoted_length(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |close| close + 1),
            _ if is_word(first) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let token = Token { at: self.at, text: &rest[..length] };
        self.at += length;
        Some(token)
    }
}

/// Up to the quote that is not followed by another one, or to the end.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(place) = rest[at..].find(quote) {
        at += place + 1;
        if !rest[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_at_its_semicolon_and_nowhere_else() {
        for (text, expected) in [
            ("", vec![]),
            (" ; ;; -- nothing", vec![]),
            ("SELECT 1", vec!["SELECT 1"]),
            ("SELECT 1; SELECT 2;", vec!["SELECT 1", "SELECT 2"]),
            (
                "SELECT ';', \";\", `;`, [;]; SELECT 'it''s;'",
                vec!["SELECT ';', \";\", `;`, [;]", "SELECT 'it''s;'"],
            ),
            ("/* ; */ SELECT 1 -- ;\n; SELECT /* ;", vec!["SELECT 1 -- ;\n", "SELECT /* ;"]),
            (
                "CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET x = CASE 1 WHEN 1 THEN 2 END; SELECT 1; END; SELECT 2",
                vec![
                    "CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET x = CASE 1 WHEN 1 THEN 2 END; SELECT 1; END",
                    "SELECT 2",
                ],
            ),
            (
                "explain create temp trigger a BEGIN x; end ; SELECT 2",
                vec!["explain create temp trigger a BEGIN x; end ", "SELECT 2"],
            ),
            (
                "CREATE TABLE trigger_(x); BEGIN; END; SELECT 1",
                vec!["CREATE TABLE trigger_(x)", "BEGIN", "END", "SELECT 1"],
            ),
            ("SELECT 'open; SELECT 2", vec!["SELECT 'open; SELECT 2"]),
            ("é; ü", vec!["é", "ü"]),
        ] {
            assert_eq!(statements(text), expected, "{text}");
        }
    }

    #[test]
    fn where_statements_end_is_where_sqlite_says_so() {
        // Every text of a few tokens; SQLite is asked whether it is complete, by whether it wants more of a trigger.
        let words = ["CREATE", "TEMP", "TRIGGER", "EXPLAIN", "END", ";", "x", "'a;'", "-- ;\n", "/*;*/"];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            texts = texts.iter().flat_map(|text| words.map(|word| format!("{text} {word}"))).collect();
        }
        let complete = |text: &str| {
            let text = std::ffi::CString::new(text).unwrap();
            #[allow(unsafe_code, reason = "rusqlite has no safe form of sqlite3_complete")]
            // SAFETY: the text ends with a NUL and lives throughout the call.
            let answer = unsafe { rusqlite::ffi::sqlite3_complete(text.as_ptr()) };
            answer == 1
        };
        for text in texts {
            let mut end = Ending::default();
            for token in Tokens::of(&text) {
                end = if end == Ending::Complete { Ending::default() } else { end }.after(token.text);
            }
            assert_eq!(end == Ending::Complete, complete(&text), "{text}");
        }
    }

    #[test]
    fn transaction_control_is_told_from_what_only_looks_like_it() {
        let savepoint = |name: &str| Kind::Savepoint(name.to_owned());
        for (sql, expected) in [
            ("BEGIN", Kind::Begin(Mode::Deferred)),
            (" /* now */ begin -- go\n deferred transaction ; ", Kind::Begin(Mode::Deferred)),
            ("BEGIN IMMEDIATE", Kind::Begin(Mode::Immediate)),
            ("BEGIN EXCLUSIVE TRANSACTION", Kind::Begin(Mode::Immediate)),
            ("BEGIN TRANSACTION READONLY", Kind::Begin(Mode::ReadOnly)),
            ("BEGIN CONCURRENT", Kind::Other),
            ("BEGIN; SELECT 1", Kind::Other),
            ("COMMIT", Kind::Commit),
            ("end transaction", Kind::Commit),
            ("COMMIT x y", Kind::Other),
            ("ROLLBACK", Kind::Rollback),
            ("ROLLBACK TRANSACTION TO SAVEPOINT a", Kind::RollbackTo("a".into())),
            ("ROLLBACK TO \"a \"\" b\"", Kind::RollbackTo("a \" b".into())),
            ("SAVEPOINT [a b]", savepoint("a b")),
            ("SAVEPOINT 'a'", savepoint("a")),
            ("SAVEPOINT", Kind::Other),
            ("RELEASE SAVEPOINT a", Kind::Release("a".into())),
            ("RELEASE a;", Kind::Release("a".into())),
            ("SELECT 'BEGIN'", Kind::Read),
            ("EXPLAIN BEGIN", Kind::Read),
            ("VALUES (1)", Kind::Read),
            ("WITH a AS (SELECT 1) SELECT * FROM a", Kind::Unclear),
            ("INSERT INTO t VALUES (1)", Kind::Other),
            ("", Kind::Other),
            ("BEGINS", Kind::Other),
        ] {
            assert_eq!(kind(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_pragma_is_named_without_its_schema() {
        let pragma = |name: &str, value: Option<&str>| Kind::Pragma {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        for (sql, expected) in [
            ("PRAGMA foreign_keys", pragma("foreign_keys", None)),
            ("pragma Foreign_Keys = OFF;", pragma("foreign_keys", Some("OFF"))),
            ("PRAGMA main.table_info('a b')", pragma("table_info", Some("a b"))),
            ("PRAGMA \"main\".\"table_info\"(\"x\")", pragma("table_info", Some("x"))),
            ("PRAGMA", Kind::Other),
            ("PRAGMA a b", Kind::Other),
        ] {
            assert_eq!(kind(sql), expected, "{sql}");
        }
    }
}
