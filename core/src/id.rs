//! Identities and names of content: keys of peers, ids of files, locators of private shares.
//!
//! `FileId = SHA-256("towpath id v1" ‖ kind ‖ length ‖ root)` says what the bytes are. A private
//! share is announced under `SHA-256("towpath locator v1" ‖ secret ‖ id)` instead, so that the
//! tracker learns neither the id nor anything that could be guessed from it.

use alloc::string::String;
use core::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::codec::DecodeError;

/// Writes `bytes` as lower-case hex digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// Reads 64 lower-case hex digits (spec C11).
///
/// # Errors
/// `not_hex` for another length or any other character.
pub fn from_hex(text: &str) -> Result<[u8; 32], DecodeError> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(DecodeError("not_hex")),
    };
    let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| DecodeError("not_hex"))?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! hex_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &to_hex(&self.0[..4]))
            }
        }

        impl core::str::FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                from_hex(text).map(Self)
            }
        }
    };
}

hex_newtype!(
    /// A SHA-256 value: a leaf, an inner node or a root of a Merkle tree.
    Hash
);
hex_newtype!(
    /// What the bytes are: kind, length and root, hashed.
    FileId
);
hex_newtype!(
    /// Under what a share is announced: the id of a public one, a hash with the secret of a private
    /// one.
    Locator
);
hex_newtype!(
    /// A peer: its X25519 public key.
    PeerId
);

impl PeerId {
    /// The first eight hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        to_hex(&self.0[..4])
    }
}

/// One running instance of a peer: several commands of one user share a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instance {
    /// The key.
    pub peer: PeerId,
    /// Drawn at random when the command starts.
    pub number: u64,
}

/// The secret of a private share. Never sent, never logged, erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A public share has no secret; its proofs are made with zeros.
    pub const PUBLIC: Self = Self([0; 32]);

    /// Wraps 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for hashing, for a link and for the owner's own storage.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // spec K10 and L5: no log shows it
        f.write_str("Secret(..)")
    }
}

/// What kind of bytes an id names. The numbers are on the wire and in the id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// The bytes of one file.
    File = 0,
    /// A manifest: the description of a folder.
    Manifest = 1,
}

impl TryFrom<u8> for Kind {
    type Error = DecodeError;

    fn try_from(value: u8) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::File),
            1 => Ok(Self::Manifest),
            _ => Err(DecodeError("unknown_kind")),
        }
    }
}

/// What an id stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// A file or a manifest.
    pub kind: Kind,
    /// Length of the file, or of the manifest's own bytes.
    pub length_bytes: u64,
    /// Merkle root of those bytes.
    pub root: Hash,
}

impl Descriptor {
    /// The id (spec C10).
    #[must_use]
    pub fn id(&self) -> FileId {
        let mut hash = Sha256::new();
        hash.update(b"towpath id v1");
        hash.update([self.kind as u8]);
        hash.update(self.length_bytes.to_be_bytes());
        hash.update(self.root.0);
        FileId(hash.finalize().into())
    }

    /// The locator under which this is announced: with a secret as a private share, without as
    /// public (spec C12).
    #[must_use]
    pub fn locator(&self, secret: Option<&Secret>) -> Locator {
        let id = self.id();
        let Some(secret) = secret else { return Locator(id.0) };
        let mut hash = Sha256::new();
        hash.update(b"towpath locator v1");
        hash.update(secret.expose());
        hash.update(id.0);
        Locator(hash.finalize().into())
    }
}

/// A share or a download of this node, as its driver and its store know it: a small number that is
/// never used twice by one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ContentKey(pub u32);

/// A link (one byte stream to one peer), as node and driver know it; never used twice by one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// Which bytes of a share a chunk number counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// The bytes that the id names: the file, or the manifest itself.
    Root = 0,
    /// All files of a manifest, in its order.
    Contents = 1,
}

impl TryFrom<u8> for Space {
    type Error = DecodeError;

    fn try_from(value: u8) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::Root),
            1 => Ok(Self::Contents),
            _ => Err(DecodeError("unknown_space")),
        }
    }
}

/// One chunk of a share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkRef {
    /// Which bytes.
    pub space: Space,
    /// Its number in them.
    pub index: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back_and_refuses_the_rest() {
        let id = FileId([0xA5; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(from_hex(&"A5".repeat(32)).is_err());
        assert!(from_hex(&"a5".repeat(31)).is_err());
    }

    #[test]
    fn a_private_locator_depends_on_the_secret() {
        let what = Descriptor { kind: Kind::File, length_bytes: 3, root: Hash([1; 32]) };
        let one = what.locator(Some(&Secret::new([1; 32])));
        let two = what.locator(Some(&Secret::new([2; 32])));
        assert_ne!(one, two);
        assert_eq!(what.locator(None).0, what.id().0);
    }

    #[test]
    fn people_see_eight_digits_of_a_key_and_nothing_of_a_secret() {
        let peer = PeerId([0xA5; 32]);
        assert_eq!((&*peer.short(), &*format!("{peer:?}")), ("a5a5a5a5", "PeerId(a5a5a5a5)"));
        assert_eq!(format!("{:?}", Secret::new([0xA5; 32])), "Secret(..)");
        assert_ne!(Secret::new([0xA5; 32]), Secret::PUBLIC);
    }

    use alloc::format;
    use alloc::string::ToString;
}
