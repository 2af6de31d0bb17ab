//! File names that others suggest, made harmless.
//!
//! A name that comes over the network may try to lead elsewhere (`../../.bashrc`), to hide (leading
//! dots), to speak to a terminal (control characters), or to look like something else (`gpj.exe`
//! turned around by a bidirectional override). What is left here is one visible component.

use alloc::string::String;

use crate::limits::MAX_NAME_BYTES;

/// What a file is called when nothing is left of its name.
const FALLBACK: &str = "download";

/// Reduces a suggested name to one component without leading dot, control or bidi characters, at
/// most [`crate::limits::MAX_NAME_BYTES`] bytes; never empty ("download" if nothing is left).
///
/// Spec C14. Of several components it takes the last one that leaves something. Sanitising twice is
/// sanitising once.
#[must_use]
pub fn sanitize(suggested: &str) -> String {
    let components = suggested.rsplit(['/', '\\']);
    let mut names = components.map(clean).filter(|name| !name.is_empty());
    names.next().unwrap_or_else(|| FALLBACK.into())
}

/// One component without what is hidden, what hides it, and white space around.
fn clean(component: &str) -> String {
    let mut name = String::new();
    for character in component.chars().filter(|character| !is_unseen(*character)) {
        let leads = name.is_empty() && (character == '.' || character.is_whitespace());
        if leads {
            continue;
        }
        if name.len() + character.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        name.push(character);
    }
    name.truncate(name.trim_end().len());
    name
}

/// Characters that are not seen, or change how others are seen: control characters, directional
/// marks, embeddings, overrides and isolates, zero-width and filling characters, line and paragraph
/// separators, annotations, tags.
const fn is_unseen(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}'
        | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_names_end_at_a_character() {
        assert_eq!(sanitize(&"é".repeat(200)), "é".repeat(127));
        assert_eq!(sanitize(&"a".repeat(300)).len(), 255);
        assert_eq!(sanitize(&("a".repeat(254) + " b")), "a".repeat(254));
    }

    proptest! {
        #[test]
        fn whatever_comes_one_visible_component_is_left(
            text in "([./\\\\ \u{202e}\u{200b}\0\u{1b}\u{a0}a-zé\u{1f600}]|\\PC|\\p{Cc}){0,300}",
        ) {
            let name = sanitize(&text);
            prop_assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES);
            prop_assert!(!name.starts_with('.') && !name.contains(['/', '\\']));
            prop_assert!(!name.chars().any(|c| c.is_control() || is_unseen(c)));
            prop_assert_eq!(name.trim(), &name);
            prop_assert_eq!(sanitize(&name), name);
        }
    }
}
