//! The text of a link: `https://HOST/f/<locator>#<secret>`. (API fixed; body to be written.)
//!
//! `http://HOST:PORT/f/…` is a link too. Without a fragment it is the link of a public share. Locators
//! are 64 lower-case hex digits, the secret 43 characters of base64url without padding.

use alloc::string::String;
use core::fmt;

use crate::id::{Locator, Secret};

/// A link, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Base URL of the tracker without a slash at its end: `https://HOST[:PORT]`. At most 512 bytes.
    pub tracker: String,
    /// What is shared.
    pub locator: Locator,
    /// `None`: public.
    pub secret: Option<Secret>,
}

/// Why a text is not a link; `Display` gives one sentence that says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// It does not begin with `https://` or `http://`, or has no host.
    NotAUrl,
    /// It has no `/f/` with 64 hex digits after it: cut or mistyped.
    BadLocator,
    /// Its fragment is not 43 characters of base64url: cut or mistyped.
    BadSecret,
}

impl fmt::Display for LinkError {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl core::str::FromStr for Link {
    type Err = LinkError;

    fn from_str(_text: &str) -> Result<Self, LinkError> {
        todo!()
    }
}

impl fmt::Display for Link {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
