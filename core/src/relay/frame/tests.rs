//! Every message goes there and back; nothing from outside panics.

use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;

fn some_instance() -> impl Strategy<Value = Instance> {
    (any::<[u8; 32]>(), any::<u64>())
        .prop_map(|(peer, number)| Instance { peer: PeerId(peer), number })
}

fn some_window() -> impl Strategy<Value = u32> {
    0..=u32::try_from(RELAY_WINDOW_MAX_BYTES).unwrap()
}

fn some_credit() -> impl Strategy<Value = u32> {
    1..=u32::try_from(RELAY_WINDOW_MAX_BYTES).unwrap()
}

fn to_hub() -> impl Strategy<Value = ToHub> {
    let number = any::<u32>;
    prop_oneof![
        any::<u64>().prop_map(|instance| ToHub::Login { instance }),
        (number(), some_instance(), some_window())
            .prop_map(|(circuit, to, window_bytes)| ToHub::Open { circuit, to, window_bytes }),
        (number(), some_window())
            .prop_map(|(circuit, window_bytes)| ToHub::Accept { circuit, window_bytes }),
        number().prop_map(|circuit| ToHub::Refuse { circuit }),
        number().prop_map(|circuit| ToHub::Close { circuit }),
        (number(), some_credit()).prop_map(|(circuit, bytes)| ToHub::Credit { circuit, bytes }),
        (number(), some_window()).prop_map(|(circuit, bytes)| ToHub::Returned { circuit, bytes }),
        any::<u64>().prop_map(|nonce| ToHub::Ping { nonce }),
        any::<u64>().prop_map(|nonce| ToHub::Pong { nonce }),
    ]
}

fn to_client() -> impl Strategy<Value = ToClient> {
    let number = any::<u32>;
    let open_error = prop_oneof![
        Just(OpenError::Absent),
        Just(OpenError::Refused),
        Just(OpenError::NoAnswer),
        Just(OpenError::Busy)
    ];
    let end =
        prop_oneof![Just(CircuitEnd::Closed), Just(CircuitEnd::Lost), Just(CircuitEnd::NoAnswer)];
    let goodbye = prop_oneof![
        Just(Goodbye::Replaced),
        Just(Goodbye::Shutdown),
        Just(Goodbye::Misbehaved),
        Just(Goodbye::Limit),
        Just(Goodbye::Timeout)
    ];
    prop_oneof![
        ("[a-z]{0,64}", any::<u32>(), any::<u32>()).prop_map(|(token, ip, max_circuits)| {
            ToClient::Welcome { token, observed: IpAddr::V4(ip.into()), max_circuits }
        }),
        "[a-z]{0,64}".prop_map(|token| ToClient::Token { token }),
        (number(), some_instance(), some_window(), some_window()).prop_map(
            |(circuit, from, window_bytes, hub_bytes)| {
                ToClient::Incoming { circuit, from, window_bytes, hub_bytes }
            }
        ),
        (number(), some_window(), some_window()).prop_map(|(circuit, window_bytes, hub_bytes)| {
            ToClient::Opened { circuit, window_bytes, hub_bytes }
        }),
        (number(), open_error)
            .prop_map(|(circuit, reason)| ToClient::OpenFailed { circuit, reason }),
        (number(), end).prop_map(|(circuit, reason)| ToClient::Close { circuit, reason }),
        (number(), some_credit()).prop_map(|(circuit, bytes)| ToClient::Credit { circuit, bytes }),
        (number(), some_credit())
            .prop_map(|(circuit, bytes)| ToClient::HubCredit { circuit, bytes }),
        (number(), some_credit()).prop_map(|(circuit, bytes)| ToClient::Reclaim { circuit, bytes }),
        any::<u64>().prop_map(|nonce| ToClient::Ping { nonce }),
        any::<u64>().prop_map(|nonce| ToClient::Pong { nonce }),
        goodbye.prop_map(|reason| ToClient::Goodbye { reason }),
    ]
}

proptest! {
    #[test]
    fn messages_to_the_hub_go_there_and_back(message in to_hub(), more in any::<u8>()) {
        let mut bytes = message.encode();
        prop_assert!(bytes.len() <= MAX_RELAY_CONTROL_BYTES - crate::limits::TAG_BYTES);
        prop_assert_eq!(ToHub::decode(&bytes), Ok(message));
        prop_assert!(ToHub::decode(&bytes[..bytes.len() - 1]).is_err());
        bytes.push(more);
        prop_assert_eq!(ToHub::decode(&bytes), Err(DecodeError("trailing_bytes")));
    }

    // Spec K7
    #[test]
    fn messages_to_a_client_go_there_and_back(message in to_client(), more in any::<u8>()) {
        let mut bytes = message.encode();
        prop_assert!(bytes.len() <= MAX_RELAY_CONTROL_BYTES - crate::limits::TAG_BYTES);
        prop_assert_eq!(ToClient::decode(&bytes), Ok(message));
        prop_assert!(ToClient::decode(&bytes[..bytes.len() - 1]).is_err());
        bytes.push(more);
        prop_assert_eq!(ToClient::decode(&bytes), Err(DecodeError("trailing_bytes")));
    }

    // Spec R13
    #[test]
    fn what_is_decoded_is_what_was_encoded(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(message) = ToHub::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes.clone());
        }
        if let Ok(message) = ToClient::decode(&bytes) {
            prop_assert_eq!(ToClient::decode(&message.encode()), Ok(message));
        }
    }
}

// Spec R3, R4
#[test]
fn frames_are_known_by_their_first_byte_and_bounded_by_it() {
    assert_eq!(kind(&[]), Err(DecodeError("empty_frame")));
    assert_eq!(kind(&[3]), Err(DecodeError("unknown_frame")));
    assert_eq!(kind(&[2, 0, 0, 0, 1]), Err(DecodeError("empty_data")));
    assert_eq!(kind(&[2, 0, 0, 0, 1, 9]), Ok(Kind::Data));
    let mut data = vec![2; DATA_HEADER_BYTES + MAX_RELAY_PAYLOAD_BYTES];
    assert_eq!(kind(&data), Ok(Kind::Data));
    data.push(0);
    assert_eq!(kind(&data), Err(DecodeError("frame_too_long")));
    let mut control = vec![1; 1 + MAX_RELAY_CONTROL_BYTES];
    assert_eq!(kind(&control), Ok(Kind::Control));
    control.push(0);
    assert_eq!(kind(&control), Err(DecodeError("frame_too_long")));
}

#[test]
fn a_circuit_number_is_replaced_in_place() {
    let mut frame = begin_data(7, 3);
    frame.put(b"abc");
    assert_eq!(data_circuit(&frame), Ok(7));
    set_data_circuit(&mut frame, FIRST_HUB_CIRCUIT + 1);
    assert_eq!(&frame[..], b"\x02\x80\x00\x00\x01abc");
}

// Spec R21
#[test]
fn windows_are_bounded_and_credit_is_never_nothing() {
    let mut bytes = ToHub::Credit { circuit: 1, bytes: 1 }.encode();
    let end = bytes.len();
    bytes[end - 1] = 0;
    assert_eq!(ToHub::decode(&bytes), Err(DecodeError("empty_credit")));
    bytes[end - 4..].copy_from_slice(&(RELAY_WINDOW_MAX_BYTES as u32 + 1).to_be_bytes());
    assert_eq!(ToHub::decode(&bytes), Err(DecodeError("window_too_large")));
    let token = "x".repeat(MAX_RELAY_TOKEN_BYTES + 1).to_string();
    let bytes = ToClient::Token { token }.encode();
    assert_eq!(ToClient::decode(&bytes), Err(DecodeError("too_long")));
}
