//! A `.env` file: `NAME=value` lines as a shell and python-dotenv read them. What those two read differently is
//! refused for our settings, since a password must not change silently.

use std::{collections::BTreeMap, fs, io, iter::Peekable, path::Path, str::Chars};

use shared::config::BadSetting;

use super::names::NAMES;

/// The variables of a `.env` file, by their names in capitals.
#[derive(Default)]
pub(super) struct Dotenv(BTreeMap<String, Entry>);

struct Entry {
    name: String,
    value: String,
}

/// Why a line is refused.
#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    /// It is not `NAME=value`, or a quote is never closed.
    Syntax,
    /// Others would put the value of another variable in its place.
    Dollar,
    /// Others read the backslash differently.
    Backslash,
}

impl Dotenv {
    /// Reads the file; where there is none, there are no variables.
    ///
    /// # Errors
    ///
    /// The file cannot be read, a line is not `NAME=value`, one of our settings is there in two spellings, or its
    /// value is one that would be substituted. The sentence names the line and the setting, and shows no value.
    pub(super) fn read(path: &Path) -> Result<Self, BadSetting> {
        let shown = path.display();
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(BadSetting::new(format!("{shown} cannot be read: {error}."))),
            Ok(text) => text,
        };
        let mut entries = BTreeMap::<String, Entry>::new();
        let mut rest = Rest::new(&text);
        while let Some((number, entry)) = rest.next_entry() {
            let syntax = || {
                BadSetting::new(format!(
                    "{shown} cannot be read: line {number} is not NAME=value."
                ))
            };
            let Some((name, value)) = entry.map_err(|_| syntax())? else {
                continue;
            };
            let known = name.to_ascii_uppercase();
            let is_ours = NAMES.contains(&known.as_str());
            let value = match value {
                Ok(value) => value,
                Err(Flaw::Syntax) => return Err(syntax()),
                // Another program's, which may want it so.
                Err(_) if !is_ours => String::new(),
                Err(flaw) => {
                    let what = match flaw {
                        Flaw::Dollar => "a $ that would be substituted",
                        _ => "a backslash that would be taken for an escape",
                    };
                    return Err(BadSetting::new(format!(
                        "{shown}, line {number}: the value of {name} holds {what}; put the value in single quotes: {name}='…'."
                    )));
                }
            };
            if let Some(other) = entries.get(&known)
                && is_ours
                && other.name != name
            {
                return Err(BadSetting::new(format!(
                    "{shown} has both {} and {name}, which are one setting; leave one of them.",
                    other.name
                )));
            }
            entries.insert(known, Entry { name, value });
        }
        Ok(Self(entries))
    }

    /// The value of the setting of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(&name.to_ascii_uppercase())
            .map(|entry| entry.value.as_str())
    }

    /// The names, as the file writes them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|entry| entry.name.as_str())
    }
}

/// What is left of a file.
struct Rest<'a> {
    text: Peekable<Chars<'a>>,
    number: usize,
}

/// An entry as it was read, or nothing where a line is empty or a comment.
type Read = Result<Option<(String, Result<String, Flaw>)>, Flaw>;

impl<'a> Rest<'a> {
    fn new(text: &'a str) -> Self {
        // Editors of Windows put the mark at the beginning.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            text: text.chars().peekable(),
            number: 1,
        }
    }

    /// Reads one entry, which is more than a line where a quoted value is.
    fn next_entry(&mut self) -> Option<(usize, Read)> {
        self.text.peek()?;
        let number = self.number;
        let entry = self.entry();
        while self.next().is_some_and(|character| character != '\n') {}
        Some((number, entry))
    }

    fn next(&mut self) -> Option<char> {
        // What follows the last character of a line belongs to it.
        let next = self.text.next();
        self.number += usize::from(next == Some('\n'));
        next
    }

    fn at_end_of_line(&mut self) -> bool {
        matches!(self.text.peek(), None | Some('\n'))
    }

    fn skip_space(&mut self) -> bool {
        let mut skipped = false;
        while self
            .text
            .next_if(|next| next.is_whitespace() && *next != '\n')
            .is_some()
        {
            skipped = true;
        }
        skipped
    }

    /// Reads an entry; what follows it on its line is still there to be read.
    fn entry(&mut self) -> Read {
        self.skip_space();
        if self.at_end_of_line() || self.text.peek() == Some(&'#') {
            return Ok(None);
        }
        let mut name = self.name()?;
        self.skip_space();
        if name == "export" && self.text.peek() != Some(&'=') {
            name = self.name()?;
            self.skip_space();
        }
        if self.text.next_if_eq(&'=').is_none() {
            return Err(Flaw::Syntax);
        }
        let is_apart = self.skip_space();
        let value = if is_apart && self.text.peek() == Some(&'#') {
            Ok(String::new())
        } else {
            self.value()
        };
        Ok(Some((name, value)))
    }

    fn name(&mut self) -> Result<String, Flaw> {
        let is_first = |next: &char| next.is_ascii_alphabetic() || *next == '_';
        let mut name: String = self.text.next_if(is_first).ok_or(Flaw::Syntax)?.into();
        while let Some(next) = self
            .text
            .next_if(|next| next.is_ascii_alphanumeric() || *next == '_' || *next == '.')
        {
            name.push(next);
        }
        Ok(name)
    }

    /// A value, up to the end of its line or a comment. A flaw of it is told when all of it was read.
    fn value(&mut self) -> Result<String, Flaw> {
        let mut value = String::new();
        let mut flaw = None;
        while !self.at_end_of_line() {
            if self.skip_space() {
                if self.at_end_of_line() || self.text.peek() == Some(&'#') {
                    break;
                }
                return Err(Flaw::Syntax);
            }
            match self.next() {
                Some('\'') => loop {
                    match self.next().ok_or(Flaw::Syntax)? {
                        '\'' => break,
                        character => value.push(character),
                    }
                },
                Some('"') => loop {
                    match self.next().ok_or(Flaw::Syntax)? {
                        '"' => break,
                        '\\' => match self.next().ok_or(Flaw::Syntax)? {
                            'n' => value.push('\n'),
                            character @ ('\\' | '"' | '\'' | '$') => value.push(character),
                            _ => flaw = flaw.or(Some(Flaw::Backslash)),
                        },
                        '$' if self.is_substitution() => flaw = flaw.or(Some(Flaw::Dollar)),
                        character => value.push(character),
                    }
                },
                Some('\\') => {
                    self.text.next_if(|next| *next != '\n');
                    flaw = flaw.or(Some(Flaw::Backslash));
                }
                Some('$') if self.is_substitution() => flaw = flaw.or(Some(Flaw::Dollar)),
                Some(character) => value.push(character),
                None => break,
            }
        }
        flaw.map_or(Ok(value), Err)
    }

    /// Whether what follows makes a dollar sign more than one.
    fn is_substitution(&mut self) -> bool {
        self.text
            .peek()
            .is_some_and(|next| next.is_alphanumeric() || "_{(".contains(*next))
    }
}
