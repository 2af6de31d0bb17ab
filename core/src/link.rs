//! The text of a link: `https://HOST/f/<locator>#<secret>` (spec chapter "Link").
//!
//! `http://HOST:PORT/f/…` is a link too. Without a fragment it is the link of a public share.
//! Locators are 64 lower-case hex digits, the secret 43 characters of base64url without padding.
//!
//! Links are pasted from chats and terminals, so white space around one is ignored, and one that
//! lost its end is told from one that is wrong. What cannot be told: a private link that lost its
//! fragment with the `#` looks like a public one; its locator is then simply unknown to everybody
//! as an id.

use alloc::string::String;
use core::fmt;
use core::net::Ipv6Addr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::id::{Locator, Secret};
use crate::limits::MAX_TRACKER_URL_BYTES;

/// What stands between the tracker and the locator.
const PATH: &str = "/f/";
/// Hex digits of a locator.
const LOCATOR_DIGITS: usize = 64;
/// Characters of a secret: 32 bytes of 6 bits each, the last two bits zero.
const SECRET_CHARACTERS: usize = 43;
/// The longest host name (RFC 1035, section 2.3.4, as text).
const MAX_HOST_BYTES: usize = 253;

/// A link, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Base URL of the tracker without a slash at its end: `https://HOST[:PORT]`. At most 512
    /// bytes.
    pub tracker: String,
    /// What is shared.
    pub locator: Locator,
    /// `None`: public (spec L3).
    pub secret: Option<Secret>,
}

/// Why a text is not a link; `Display` gives one sentence that says what to do.
// spec L6: told apart, because they are mended in different ways
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// It does not begin with `https://` or `http://`, or has no host.
    NotAUrl,
    /// It is the beginning of a link: its end is missing.
    Cut,
    /// It has no `/f/` with 64 hex digits after it: mistyped, or the link of something else.
    BadLocator,
    /// Its fragment is not 43 characters of base64url: mistyped.
    BadSecret,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAUrl => {
                "this is not a link: it must begin with https:// or http:// and a host; \
                 copy it whole, as it was printed"
            }
            Self::Cut => "the end of this link is missing; copy it whole, as it was printed",
            Self::BadLocator => {
                "this link names no share: behind /f/ there must be 64 of the characters 0-9 and \
                 a-f; copy it again, as it was printed"
            }
            Self::BadSecret => {
                "this link has a wrong secret: behind # there must be 43 letters, digits, - or _; \
                 copy it again, as it was printed"
            }
        })
    }
}

impl core::error::Error for LinkError {}

/// Spec L4.
impl core::str::FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let (tracker, path) = split_tracker(text.trim())?;
        let (path, fragment) = match path.split_once('#') {
            Some((path, fragment)) => (path, Some(fragment)),
            None => (path, None),
        };
        let Some(locator) = path.strip_prefix(PATH) else {
            let cut = fragment.is_none() && PATH.starts_with(path);
            return Err(if cut { LinkError::Cut } else { LinkError::BadLocator });
        };
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if fragment.is_none() && is_cut(locator, LOCATOR_DIGITS, is_digit) {
            return Err(LinkError::Cut);
        }
        let locator = locator.parse().map_err(|_| LinkError::BadLocator)?;
        let secret = fragment.map(parse_secret).transpose()?;
        Ok(Self { tracker, locator, secret })
    }
}

/// Spec L1.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{PATH}{}", self.tracker, self.locator)?;
        let Some(secret) = &self.secret else { return Ok(()) };
        write!(f, "#{}", *Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.expose())))
    }
}

/// Checks the base URL of a tracker as people write it, with or without a slash at its end; gives
/// it without, scheme and host in lower case.
///
/// # Errors
/// [`LinkError::NotAUrl`].
pub fn parse_tracker(text: &str) -> Result<String, LinkError> {
    let (tracker, rest) = split_tracker(text.trim())?;
    if matches!(rest, "" | "/") { Ok(tracker) } else { Err(LinkError::NotAUrl) }
}

/// The base URL, in lower case, and what stands behind it.
fn split_tracker(text: &str) -> Result<(String, &str), LinkError> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let rest = scheme.map(|scheme| &text[scheme.len()..]).ok_or(LinkError::NotAUrl)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let base = &text[..text.len() - path.len()];
    if base.len() > MAX_TRACKER_URL_BYTES || !is_authority(authority) {
        return Err(LinkError::NotAUrl);
    }
    Ok((base.to_ascii_lowercase(), path))
}

/// `HOST[:PORT]`, the host a name, an IPv4 address, or an IPv6 address in brackets. Nobody's name
/// and password: `user@host` only serves to make a host look like another.
fn is_authority(text: &str) -> bool {
    let (host_is_good, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let good = !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.bytes().all(allowed);
        (good, port)
    };
    let port_is_good = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0)
        });
    host_is_good && port_is_good
}

/// Spec L2: the decoder refuses trailing bits that are not zero.
fn parse_secret(text: &str) -> Result<Secret, LinkError> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if is_cut(text, SECRET_CHARACTERS, is_letter) {
        return Err(LinkError::Cut);
    }
    if text.len() != SECRET_CHARACTERS {
        return Err(LinkError::BadSecret);
    }
    // The decoder asks for room in whole groups of three bytes.
    let mut bytes = Zeroizing::new([0; 33]);
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut *bytes);
    let secret = bytes.first_chunk::<32>().filter(|_| length == Ok(32));
    secret.map(|bytes| Secret::new(*bytes)).ok_or(LinkError::BadSecret)
}

/// Whether `text` has only characters that belong there, but too few of them.
fn is_cut(text: &str, characters: usize, belongs: impl Fn(u8) -> bool) -> bool {
    text.len() < characters && text.bytes().all(belongs)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn a_link() -> Link {
        Link {
            tracker: "https://tow.example:8443".into(),
            locator: Locator([0xab; 32]),
            secret: Some(Secret::new([0xfe; 32])),
        }
    }

    #[test]
    fn every_beginning_of_a_link_is_cut_or_not_a_link() {
        let text = a_link().to_string();
        let whole_public = text.find('#').expect("it is private");
        for end in 0..text.len() {
            let result = text[..end].parse::<Link>();
            if end == whole_public {
                assert_eq!(result.map(|link| link.secret), Ok(None));
            } else if end <= "https://".len() || text[..end].ends_with(':') {
                assert_eq!(result, Err(LinkError::NotAUrl), "{end}");
            } else {
                assert_eq!(result, Err(LinkError::Cut), "{end}");
            }
        }
    }

    #[test]
    fn trackers_are_checked() {
        let good = Ok("http://[::1]:80".to_string());
        assert_eq!(parse_tracker("HTTP://[::1]:80/"), good);
        assert_eq!(parse_tracker(" http://[::1]:80\n"), good);
        for bad in ["", "tow.example", "http://", "http:///", "http://a/b", "http://a?b", "ftp://a"]
        {
            assert_eq!(parse_tracker(bad), Err(LinkError::NotAUrl), "{bad}");
        }
        let long = format!("http://{}", "a".repeat(600));
        assert_eq!(parse_tracker(&long), Err(LinkError::NotAUrl));
    }

    #[test]
    fn hosts_ports_and_whole_urls_have_limits() {
        let zeros = |length: usize| format!("http://a:{}80", "0".repeat(length - 11));
        let host = |length: usize| format!("http://{}", "a".repeat(length));
        for good in [zeros(MAX_TRACKER_URL_BYTES), host(MAX_HOST_BYTES), "http://a:65535".into()] {
            assert_eq!(parse_tracker(&good), Ok(good));
        }
        let long = zeros(MAX_TRACKER_URL_BYTES + 1);
        for bad in [&long, &host(MAX_HOST_BYTES + 1), "http://a:65536", "http://a:0", "http://a:"] {
            assert_eq!(parse_tracker(bad), Err(LinkError::NotAUrl), "{bad}");
        }
    }

    // Spec L6
    #[test]
    fn each_error_says_what_to_do() {
        for error in
            [LinkError::NotAUrl, LinkError::Cut, LinkError::BadLocator, LinkError::BadSecret]
        {
            let text = error.to_string();
            assert!(text.contains("copy it") && !text.contains("  "), "{text}");
        }
    }

    // Spec L5, K10
    #[test]
    fn a_link_shows_its_secret_only_as_text() {
        assert!(!format!("{:?}", a_link()).contains("_v7-"));
        assert!(a_link().to_string().contains("_v7-"));
    }

    proptest! {
        #[test]
        fn links_go_there_and_back(locator: [u8; 32], secret: Option<[u8; 32]>, port in 1u16..) {
            let link = Link {
                tracker: format!("http://10.0.0.1:{port}"),
                locator: Locator(locator),
                secret: secret.map(Secret::new),
            };
            prop_assert_eq!(format!("\t{link} \n").parse(), Ok(link));
        }

        #[test]
        fn no_text_panics(text in "\\PC*", tail in "[htps:/f#\u{e9}0-9a-f]*") {
            let _ = text.parse::<Link>();
            let _ = format!("http://{tail}").parse::<Link>();
            if let Ok(link) = format!("https://a/f/{tail}").parse::<Link>() {
                prop_assert_eq!(link.to_string(), format!("https://a/f/{tail}"));
            }
        }
    }
}
