//! The other side of a relay's connection, played by hand: handshake, seal, frames.

use bytes::BytesMut;
use towpath_core::crypto::noise::{Finished, Handshake, Pattern};
use towpath_core::crypto::record::RecordCipher;
use towpath_core::relay::frame::{PROLOGUE, ToClient, ToHub};
use towpath_core::session::Suite;

pub(super) const HOST: &str = "relay.example";

/// One end of a connection.
pub(super) struct Hand {
    handshake: Option<Handshake>,
    send: Option<RecordCipher>,
    receive: Option<RecordCipher>,
}

impl Hand {
    pub(super) fn new(initiator: bool, key: u8) -> Self {
        let prologue = [PROLOGUE, HOST.as_bytes()].concat();
        let (pattern, suite) = (Pattern::Xx, Suite::ChaChaPoly);
        let handshake =
            Handshake::new(pattern, suite, initiator, &prologue, [key; 32], [key + 100; 32], None);
        Self { handshake: Some(handshake), send: None, receive: None }
    }

    pub(super) fn has_keys(&self) -> bool {
        self.send.is_some()
    }

    /// The next message of the handshake; `None` if it is the other end's turn, or over.
    pub(super) fn next_message(&mut self) -> Option<BytesMut> {
        // A message out of turn ends a handshake, so the turn is looked at before.
        let handshake = self.handshake.as_mut()?;
        let message = handshake.write_message().ok()?;
        self.settle();
        Some(BytesMut::from(&[&[0], &message[..]].concat()[..]))
    }

    fn settle(&mut self) {
        if self.handshake.as_ref().is_some_and(Handshake::is_finished)
            && let Some(Finished { send, receive, .. }) =
                self.handshake.take().map(Handshake::finish)
        {
            (self.send, self.receive) = (Some(send), Some(receive));
        }
    }

    /// A control frame of these bytes.
    pub(super) fn seal(&mut self, plaintext: &[u8]) -> Option<BytesMut> {
        let mut sealed = plaintext.to_vec();
        let tag = self.send.as_mut()?.seal(&mut sealed);
        Some(BytesMut::from(&[&[1], &sealed[..], &tag].concat()[..]))
    }

    /// What a frame from the other end says, in short.
    pub(super) fn hear(&mut self, message: &[u8], from_hub: bool) -> String {
        let Some((kind, rest)) = message.split_first() else { return "nothing".into() };
        match kind {
            0 => {
                if let Some(handshake) = &mut self.handshake {
                    handshake.read_message(rest).expect("machines speak well");
                }
                self.settle();
                "Handshake".into()
            }
            1 => {
                let mut sealed = rest.to_vec();
                let receive = self.receive.as_mut().expect("control comes after the handshake");
                let length = receive.open_in_place(&mut sealed).expect("machines seal well");
                let plain = &sealed[..length];
                if from_hub {
                    short(&format!("{:?}", ToClient::decode(plain).expect("a message")))
                } else {
                    short(&format!("{:?}", ToHub::decode(plain).expect("a message")))
                }
            }
            _ => format!("{} bytes", rest.len() - 4),
        }
    }
}

/// The name of a message and what matters of it.
fn short(debug: &str) -> String {
    let name: String = debug.chars().take_while(char::is_ascii_alphabetic).collect();
    let part = |what: &str| {
        let (_, rest) = debug.split_once(what)?;
        Some(rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect::<String>())
    };
    let circuit = part("circuit: ").map(|number| match number.as_str() {
        "2147483648" => "H1".into(),
        _ => number,
    });
    let told: Vec<String> = circuit.into_iter().chain(part("reason: ")).collect();
    if told.is_empty() { name } else { format!("{name}({})", told.join(", ")) }
}
