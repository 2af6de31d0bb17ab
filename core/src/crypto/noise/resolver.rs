//! The primitives that snow works with: X25519, SHA-256, our AEADs, and an ephemeral key from
//! outside.

use alloc::boxed::Box;

use sha2::{Digest, Sha256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroize;

use crate::crypto::aead::Key;
use crate::limits::TAG_BYTES;
use crate::session::Suite;

/// Hands snow its primitives, and the 32 bytes of the ephemeral key.
pub(super) struct Resolver {
    pub(super) suite: Suite,
    pub(super) ephemeral: [u8; 32],
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.ephemeral.zeroize();
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::new(X25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::SHA256).then(|| Box::new(Sha(Sha256::new())) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, _choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(Box::new(Aead { suite: self.suite, key: None }))
    }
}

/// Yields 32 bytes exactly once, and has erased them then.
// spec S2: nothing else is made of these bytes
struct Once(Option<[u8; 32]>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.as_mut().ok_or(Error::Rng)?;
        if dest.len() != bytes.len() {
            return Err(Error::Rng);
        }
        dest.copy_from_slice(bytes);
        bytes.zeroize();
        self.0 = None;
        Ok(())
    }
}

// spec S2b
impl Drop for Once {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A key pair; the secret erases itself when it is dropped or replaced.
struct X25519 {
    secret: StaticSecret,
    public: [u8; 32],
}

impl Default for X25519 {
    fn default() -> Self {
        Self { secret: StaticSecret::from([0; 32]), public: [0; 32] }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        let mut bytes: [u8; 32] = privkey.try_into().expect("our secret keys have 32 bytes");
        self.secret = StaticSecret::from(bytes);
        self.public = PublicKey::from(&self.secret).to_bytes();
        bytes.zeroize();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut bytes = [0; 32];
        rng.try_fill_bytes(&mut bytes)?;
        self.set(&bytes);
        bytes.zeroize();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let theirs: [u8; 32] =
            pubkey.get(..32).and_then(|key| key.try_into().ok()).ok_or(Error::Dh)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(theirs));
        // A key of small order makes the result zero whatever our key is: it would prove nothing.
        // spec S3
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        out[..32].copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

/// SHA-256.
struct Sha(Sha256);

impl Hash for Sha {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}

/// One of our AEADs, with the key that snow gives it.
struct Aead {
    suite: Suite,
    key: Option<Key>,
}

impl Cipher for Aead {
    fn name(&self) -> &'static str {
        match self.suite {
            Suite::AesGcm => "AESGCM",
            Suite::ChaChaPoly => "ChaChaPoly",
        }
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.key = Some(Key::new(self.suite, key));
    }

    fn encrypt(&self, nonce: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let key = self.key.as_ref().expect("snow sets a key before it encrypts");
        let (data, rest) = out.split_at_mut(plaintext.len());
        data.copy_from_slice(plaintext);
        rest[..TAG_BYTES].copy_from_slice(&key.seal(nonce, ad, data));
        plaintext.len() + TAG_BYTES
    }

    fn decrypt(
        &self,
        nonce: u64,
        ad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.key.as_ref().expect("snow sets a key before it decrypts");
        let length = sealed.len().checked_sub(TAG_BYTES).ok_or(Error::Decrypt)?;
        let out = out.get_mut(..length).ok_or(Error::Decrypt)?;
        key.open_into(nonce, ad, sealed, out).map_err(|_| Error::Decrypt)?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec S2
    #[test]
    fn the_bytes_of_the_ephemeral_key_are_given_out_once() {
        let mut bytes = [0; 32];
        let mut short = [0; 31];
        let mut once = Once(Some([7; 32]));
        assert!(once.try_fill_bytes(&mut short).is_err(), "another use than a key");
        assert!(once.try_fill_bytes(&mut bytes).is_ok());
        assert_eq!(bytes, [7; 32]);
        assert!(once.0.is_none());
        assert!(once.try_fill_bytes(&mut bytes).is_err());
    }

    #[test]
    fn every_primitive_is_what_the_name_of_the_handshake_says() {
        let (dh, hash) = (X25519::default(), Sha(Sha256::new()));
        assert_eq!((dh.name(), dh.pub_len(), dh.priv_len()), ("25519", 32, 32));
        assert_eq!((hash.name(), hash.block_len(), hash.hash_len()), ("SHA256", 64, 32));
        let cipher = |suite| Aead { suite, key: None }.name();
        assert_eq!((cipher(Suite::AesGcm), cipher(Suite::ChaChaPoly)), ("AESGCM", "ChaChaPoly"));
        let resolver = Resolver { suite: Suite::AesGcm, ephemeral: [7; 32] };
        assert!(resolver.resolve_dh(&DHChoice::Curve448).is_none());
        assert!(resolver.resolve_hash(&HashChoice::SHA512).is_none());
    }
}
