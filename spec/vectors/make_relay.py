#!/usr/bin/env python3
"""Makes relay.json: frames, a whole login and a token of the relay protocol (chapter 5).

Written from the chapter alone, over the primitives of the `cryptography` package, so that it checks the
implementation in Rust instead of repeating it. Run it in this folder: ./make_relay.py > relay.json
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def public(secret):
    key = X25519PrivateKey.from_private_bytes(secret).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def dh(secret, remote):
    key = X25519PrivateKey.from_private_bytes(secret)
    return key.exchange(X25519PublicKey.from_public_bytes(remote))


def nonce(counter):
    return bytes(4) + counter.to_bytes(8, "little")


class Noise:
    """One side of Noise_XX_25519_ChaChaPoly_SHA256 with empty payloads (Noise specification, 5 and 7)."""

    NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"

    def __init__(self, initiator, prologue, static, ephemeral):
        self.initiator, self.static, self.ephemeral = initiator, static, ephemeral
        self.chain = self.hash = self.NAME.ljust(32, b"\0")
        self.key, self.counter = None, 0
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.hash = hashlib.sha256(self.hash + data).digest()

    def hkdf(self, material):
        temp = hmac.digest(self.chain, material, "sha256")
        one = hmac.digest(temp, b"\1", "sha256")
        return one, hmac.digest(temp, one + b"\2", "sha256")

    def mix_key(self, material):
        self.chain, self.key = self.hkdf(material)
        self.counter = 0

    def encrypt(self, plain):
        sealed = plain
        if self.key:
            sealed = ChaCha20Poly1305(self.key).encrypt(nonce(self.counter), plain, self.hash)
            self.counter += 1
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed):
        plain = sealed
        if self.key:
            plain = ChaCha20Poly1305(self.key).decrypt(nonce(self.counter), sealed, self.hash)
            self.counter += 1
        self.mix_hash(sealed)
        return plain

    def token(self, name):
        """DH of a pattern's token, whose first letter is the initiator's key."""
        mine, theirs = (name[0], name[1]) if self.initiator else (name[1], name[0])
        secret = self.ephemeral if mine == "e" else self.static
        remote = self.remote_ephemeral if theirs == "e" else self.remote_static
        self.mix_key(dh(secret, remote))

    def write(self, tokens):
        out = b""
        for token in tokens:
            if token == "e":
                out += public(self.ephemeral)
                self.mix_hash(public(self.ephemeral))
            elif token == "s":
                out += self.encrypt(public(self.static))
            else:
                self.token(token)
        return out + self.encrypt(b"")

    def read(self, message, tokens):
        for token in tokens:
            if token == "e":
                self.remote_ephemeral, message = message[:32], message[32:]
                self.mix_hash(self.remote_ephemeral)
            elif token == "s":
                length = 48 if self.key else 32
                self.remote_static, message = self.decrypt(message[:length]), message[length:]
            else:
                self.token(token)
        assert self.decrypt(message) == b""

    def split(self):
        return self.hkdf(b"")


PATTERN = [["e"], ["e", "ee", "s", "es"], ["s", "se"]]

u32 = lambda value: struct.pack(">I", value)
u64 = lambda value: struct.pack(">Q", value)
text = lambda value: struct.pack(">H", len(value)) + value.encode()


def address(value):
    ip = ipaddress.ip_address(value)
    return ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed


PEER = bytes(range(32))
HUB = 1 << 31
TO_HUB = [
    ("login", {"instance": "81985529216486895"}, b"\x01" + u64(0x0123456789ABCDEF)),
    ("open", {"circuit": 1, "window_bytes": 524288, "peer": PEER.hex(), "instance": "7"},
     b"\x02" + u32(1) + u32(524288) + PEER + u64(7)),
    ("accept", {"circuit": HUB, "window_bytes": 524288}, b"\x03" + u32(HUB) + u32(524288)),
    ("refuse", {"circuit": HUB + 1}, b"\x04" + u32(HUB + 1)),
    ("close", {"circuit": 2}, b"\x05" + u32(2)),
    ("credit", {"circuit": 2, "bytes": 16777216}, b"\x06" + u32(2) + u32(16777216)),
    ("returned", {"circuit": 2, "bytes": 0}, b"\x07" + u32(2) + u32(0)),
    ("ping", {"nonce": "5"}, b"\x08" + u64(5)),
    ("pong", {"nonce": "6"}, b"\x09" + u64(6)),
]
TO_CLIENT = [
    ("welcome", {"token": "abc", "observed": "192.0.2.7", "max_circuits": 1024},
     b"\x0a" + text("abc") + address("192.0.2.7") + u32(1024)),
    ("token", {"token": "def"}, b"\x0b" + text("def")),
    ("incoming", {"circuit": HUB, "window_bytes": 524288, "hub_bytes": 16384, "peer": PEER.hex(),
                  "instance": "7"},
     b"\x0c" + u32(HUB) + u32(524288) + u32(16384) + PEER + u64(7)),
    ("opened", {"circuit": 1, "window_bytes": 524288, "hub_bytes": 65536},
     b"\x0d" + u32(1) + u32(524288) + u32(65536)),
    ("open_failed", {"circuit": 1, "reason": 1}, b"\x0e" + u32(1) + b"\x01"),
    ("close", {"circuit": 1, "reason": 0}, b"\x05" + u32(1) + b"\x00"),
    ("credit", {"circuit": 1, "bytes": 1}, b"\x06" + u32(1) + u32(1)),
    ("hub_credit", {"circuit": 1, "bytes": 131072}, b"\x0f" + u32(1) + u32(131072)),
    ("reclaim", {"circuit": 1, "bytes": 507904}, b"\x10" + u32(1) + u32(507904)),
    ("ping", {"nonce": "5"}, b"\x08" + u64(5)),
    ("pong", {"nonce": "6"}, b"\x09" + u64(6)),
    ("goodbye", {"reason": 1}, b"\x11\x01"),
]
BROKEN = [
    ("to_hub", b"", "truncated"),
    ("to_hub", b"\x0a", "unknown_control"),
    ("to_hub", b"\x05" + bytes(3), "truncated"),
    ("to_hub", b"\x05" + bytes(5), "trailing_bytes"),
    ("to_hub", b"\x06" + u32(1) + u32(0), "empty_credit"),
    ("to_hub", b"\x06" + u32(1) + u32((16 << 20) + 1), "window_too_large"),
    ("to_hub", b"\x03" + u32(HUB) + u32((16 << 20) + 1), "window_too_large"),
    ("to_client", b"\x01" + u64(1), "unknown_control"),
    ("to_client", b"\x0e" + u32(1) + b"\x05", "unknown_open_error"),
    ("to_client", b"\x05" + u32(1) + b"\x03", "unknown_circuit_end"),
    ("to_client", b"\x11\x00", "unknown_goodbye"),
    ("to_client", b"\x0b" + struct.pack(">H", 257) + b"x" * 257, "too_long"),
    ("to_client", b"\x0b" + struct.pack(">H", 2) + b"\xff\xfe", "not_utf8"),
]
# Every message is refused when a byte is missing, and when one follows it.
for direction, rows in (("to_hub", TO_HUB), ("to_client", TO_CLIENT)):
    for _, _, plaintext in rows:
        BROKEN.append((direction, plaintext[:-1], "truncated"))
        BROKEN.append((direction, plaintext + b"\0", "trailing_bytes"))
MESSAGES = [
    (b"", "empty_frame"),
    (b"\x03abc", "unknown_frame"),
    (b"\x02" + u32(1), "empty_data"),
    (b"\x00" + bytes(513), "frame_too_long"),
    (b"\x01" + bytes(513), "frame_too_long"),
]


def token(key, peer, instance, expiry):
    claim = peer + u64(instance) + struct.pack(">q", expiry)
    tag = hmac.digest(key, b"towpath token v1" + claim, "sha256")
    return base64.urlsafe_b64encode(claim + tag).rstrip(b"=").decode()


def login():
    client_static, client_ephemeral = bytes([0x11] * 32), bytes([0x22] * 32)
    hub_static, hub_ephemeral = bytes([0x33] * 32), bytes([0x44] * 32)
    token_key, unix_time, instance = bytes([0x55] * 32), 1_800_000_000, 0x0123456789ABCDEF
    prologue = b"towpath relay v1" + b"tracker.example:8443"
    client = Noise(True, prologue, client_static, client_ephemeral)
    hub = Noise(False, prologue, hub_static, hub_ephemeral)
    frames = []
    for number, tokens in enumerate(PATTERN):
        writer, reader = (client, hub) if number % 2 == 0 else (hub, client)
        message = writer.write(tokens)
        reader.read(message, tokens)
        frames.append((b"\x00" + message).hex())
    assert client.hash == hub.hash and client.split() == hub.split()
    up, down = client.split()
    seal = lambda key, counter, plain: (
        b"\x01" + ChaCha20Poly1305(key).encrypt(nonce(counter), plain, b"")).hex()
    week = 7 * 24 * 3600
    yielded = token(token_key, public(client_static), instance, unix_time + week)
    welcome = b"\x0a" + text(yielded) + address("192.0.2.7") + u32(1024)
    return {
        "host_as_dialled": "Tracker.example:8443",
        "prologue": prologue.hex(),
        "client_static": client_static.hex(),
        "client_ephemeral": client_ephemeral.hex(),
        "hub_static": hub_static.hex(),
        "hub_ephemeral": hub_ephemeral.hex(),
        "instance": str(instance),
        "observed": "192.0.2.7",
        "unix_time": unix_time,
        "token_key": token_key.hex(),
        "client_peer": public(client_static).hex(),
        "handshake_frames": frames,
        "handshake_hash": client.hash.hex(),
        "login_frame": seal(up, 0, b"\x01" + u64(instance)),
        "token": yielded,
        "welcome_frame": seal(down, 0, welcome),
        "ping_frame": seal(up, 1, b"\x08" + u64(9)),
        "pong_frame": seal(down, 1, b"\x09" + u64(9)),
    }


def broken_logins():
    """What a client sends that must end its connection, to the hub of `login`."""
    def begin(prologue=b"towpath relay v1tracker.example:8443"):
        client = Noise(True, prologue, bytes([0x11] * 32), bytes([0x22] * 32))
        hub = Noise(False, prologue, bytes([0x33] * 32), bytes([0x44] * 32))
        first = client.write(PATTERN[0])
        hub.read(first, PATTERN[0])
        client.read(hub.write(PATTERN[1]), PATTERN[1])
        third = client.write(PATTERN[2])
        return b"\0" + first, b"\0" + third, client.split()[0]

    first, third, key = begin()
    seal = lambda counter, plain: b"\x01" + ChaCha20Poly1305(key).encrypt(nonce(counter), plain, b"")
    log_in = b"\x01" + u64(7)
    elsewhere = begin(b"towpath relay v1other.example:8443")[1]
    cases = [
        ("a first message of another length", [first + b"\0"]),
        ("an X25519 result of zeros", [b"\0" + bytes(32)]),
        ("a third message that was changed", [first, third[:-1] + bytes([third[-1] ^ 1])]),
        ("a third message of another length", [first, third + b"\0"]),
        ("a login for another host", [first, elsewhere]),
        ("a control frame before the handshake", [b"\x01" + bytes(25)]),
        ("data before the login", [first, third, b"\x02" + u32(1) + b"x"]),
        ("another control message before Login", [first, third, seal(0, b"\x08" + u64(1))]),
        ("a Login that was changed", [first, third, seal(0, log_in)[:-1] + b"\0"]),
        ("a Login with a nonce that is not the first", [first, third, seal(1, log_in)]),
        ("a handshake message after the handshake", [first, third, seal(0, log_in), third]),
        ("Login twice", [first, third, seal(0, log_in), seal(1, log_in)]),
        ("Login that is sent again", [first, third, seal(0, log_in), seal(0, log_in)]),
        ("a circuit that never was", [first, third, seal(0, log_in), seal(1, b"\x05" + u32(1))]),
        ("data on a circuit that never was",
         [first, third, seal(0, log_in), b"\x02" + u32(HUB) + b"x"]),
    ]
    return [{"why": why, "messages": [m.hex() for m in messages]} for why, messages in cases]


def main():
    named = lambda rows: [{"name": n, "fields": f, "plaintext": p.hex()} for n, f, p in rows]
    payload = bytes(range(20))
    print(json.dumps({
        "about": "made by make_relay.py; big numbers are decimal text",
        "to_hub": named(TO_HUB),
        "to_client": named(TO_CLIENT),
        "broken_control": [
            {"direction": d, "plaintext": p.hex(), "rule": r} for d, p, r in BROKEN],
        "broken_messages": [{"message": m.hex(), "rule": r} for m, r in MESSAGES],
        "data": {"circuit": HUB + 2, "payload": payload.hex(),
                 "frame": (b"\x02" + u32(HUB + 2) + payload).hex()},
        "login": login(),
        "broken_logins": broken_logins(),
    }, indent=1))


main()
