//! E-mail addresses: read and normalised in this one place.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// The longest address that SMTP can carry in a path (RFC 5321, section 4.5.3.1.3, less the angle brackets).
const MAX_BYTES: usize = 254;
/// The longest local part (RFC 5321, section 4.5.3.1.1), in characters: international ones are counted as typed.
const MAX_LOCAL_CHARS: usize = 64;
/// Endings that are never anyone's mail domain (RFC 6761, RFC 6762, RFC 7686).
const SPECIAL_USE: [&str; 6] = ["arpa", "invalid", "local", "localhost", "onion", "test"];

/// An address that mail could reach: white space around it dropped, the domain in lower case and in Unicode,
/// the local part in NFC and otherwise as typed. `parse` is the only way to one.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Reads an address, or says in a sentence why it is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err("An email address must have an @-sign.");
        };
        // Two ways to write é are one address to everybody who reads it (RFC 6532, section 3.1). Some characters
        // become ASCII by it, so it comes before the check.
        let local: String = local.nfc().collect();
        check_local(&local)?;
        let domain = normalise_domain(domain)?;
        let address = format!("{local}@{domain}");
        if address.len() > MAX_BYTES {
            return Err("The email address is too long.");
        }
        Ok(Self(address))
    }

    /// The address to look a login up by and to count it by: normalised where it parses, else trimmed and in NFC,
    /// since an account that was taken over from elsewhere may have an address that would be refused today.
    pub fn for_lookup(text: &str) -> String {
        Self::parse(text).map_or_else(|_| text.trim().nfc().collect(), |email| email.0)
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An address is personal data: `Debug`, which ends in logs, shows it masked.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.0))
    }
}

/// The address as others see it: first character, three asterisks, domain.
pub fn mask(address: &str) -> String {
    let (local, domain) = address
        .rsplit_once('@')
        .unwrap_or((address, "example.invalid"));
    let first: String = local.chars().take(1).collect();
    format!("{first}***@{domain}")
}

/// A dot-atom (RFC 5322, section 3.2.3), with the characters of any script (RFC 6531) that can be seen.
fn check_local(local: &str) -> Result<(), &'static str> {
    if local.is_empty() {
        return Err("There must be something before the @-sign.");
    }
    if local.chars().count() > MAX_LOCAL_CHARS {
        return Err("The email address is too long before the @-sign.");
    }
    if local.split('.').any(str::is_empty) {
        return Err(
            "An email address cannot have two periods in a row, nor one before or after its local part.",
        );
    }
    let is_atom = |c: char| c.is_ascii_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~".contains(c);
    let starts_with_mark = local.chars().next().is_some_and(is_mark);
    if starts_with_mark
        || !local
            .chars()
            .all(|c| is_atom(c) || is_visible(c) && !c.is_ascii())
    {
        return Err("The email address contains invalid characters before the @-sign.");
    }
    Ok(())
}

/// The domain by UTS 46 and the rules of host names (RFC 1123, RFC 5890): in lower case, in Unicode.
fn normalise_domain(domain: &str) -> Result<String, &'static str> {
    const INVALID: &str = "The part after the @-sign is not a valid domain name.";
    // UTS 46 drops what cannot be seen: what was typed would not be what is stored. Joiners have their rules.
    let is_joiner = |c: char| "\u{200c}\u{200d}".contains(c);
    if !domain.chars().all(|c| is_visible(c) || is_joiner(c)) {
        return Err(INVALID);
    }
    let ascii = idna::domain_to_ascii_strict(domain).map_err(|_| INVALID)?;
    let (unicode, valid) = idna::domain_to_unicode(&ascii);
    valid.map_err(|_| INVALID)?;
    // IDNA 2008 (RFC 5892) leaves letters, marks and digits; UTS 46 alone would let symbols through.
    let is_word = |c: char| {
        c.is_ascii()
            || matches!(
                c.general_category_group(),
                GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark | GeneralCategoryGroup::Number
            )
            // The joiners and the punctuation that RFC 5892, appendix A, admits in context.
            || "\u{200c}\u{200d}\u{b7}\u{375}\u{5f3}\u{5f4}\u{30fb}".contains(c)
    };
    if !unicode.chars().all(is_word) {
        return Err(INVALID);
    }
    let Some((_, ending)) = ascii.rsplit_once('.') else {
        return Err("The part after the @-sign is not valid. It should have a period.");
    };
    if !ending.ends_with(|c: char| c.is_ascii_alphabetic()) && !ending.starts_with("xn--") {
        return Err(
            "The part after the @-sign is not valid. It is not within a valid top-level domain.",
        );
    }
    if SPECIAL_USE.contains(&ending) {
        return Err(
            "The part after the @-sign is a special-use or reserved name that cannot be used with email.",
        );
    }
    Ok(unicode)
}

/// Whether a character leaves anything to see: no control, format character or white space, and none of the
/// letters and marks that Unicode lets renderers ignore (`Default_Ignorable_Code_Point`), nor the empty braille cell.
fn is_visible(c: char) -> bool {
    let is_blank = matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other
    );
    let is_ignorable = matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    !is_blank && !is_ignorable
}

fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}
