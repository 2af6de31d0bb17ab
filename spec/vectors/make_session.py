#!/usr/bin/python3
"""Makes records.json, frames.json, proof.json and preamble.json beside this script, from the text of the spec and of the Noise
specification alone; the primitives are those of python3-cryptography.

    python3 make_session.py
"""

import hashlib
import hmac
import json
import os
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = os.path.dirname(os.path.abspath(__file__))


def write(name, about, **content):
    with open(os.path.join(HERE, name), "w", encoding="ascii") as file:
        json.dump({"about": about, "made_by": "make_session.py", **content}, file, indent=1)
        file.write("\n")


# Noise.


def public(secret):
    key = X25519PrivateKey.from_private_bytes(secret).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def dh(secret, theirs):
    key = X25519PrivateKey.from_private_bytes(secret)
    return key.exchange(X25519PublicKey.from_public_bytes(theirs))


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(chaining_key, data):
    key = mac(chaining_key, data)
    first = mac(key, b"\x01")
    return first, mac(key, first + b"\x02")


class Aead:
    def __init__(self, suite, key):
        self.suite, self.key, self.counter = suite, key, 0

    def at(self, counter, ad, data):
        if self.suite == "AESGCM":
            return AESGCM(self.key).encrypt(struct.pack(">IQ", 0, counter), data, ad)
        return ChaCha20Poly1305(self.key).encrypt(struct.pack("<IQ", 0, counter), data, ad)

    def seal(self, ad, data):
        self.counter += 1
        return self.at(self.counter - 1, ad, data)

    def rekey(self):
        self.key = self.at(2**64 - 1, b"", bytes(32))[:32]


class Symmetric:
    def __init__(self, name, suite, prologue):
        self.suite = suite
        self.h = self.ck = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.aead = None
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, data):
        self.ck, key = hkdf(self.ck, data)
        self.aead = Aead(self.suite, key)

    def seal(self, data):
        sealed = self.aead.seal(self.h, data) if self.aead else data
        self.mix_hash(sealed)
        return sealed


def handshake(pattern, suite, prologue, i_static, i_ephemeral, r_static, r_ephemeral):
    """All messages, the handshake hash and the two keys, as seen by somebody who knows every secret."""
    state = Symmetric(f"Noise_{pattern}_25519_{suite}_SHA256".encode(), suite, prologue)
    secrets = {"s": (i_static, r_static), "e": (i_ephemeral, r_ephemeral)}
    if pattern == "IK":
        state.mix_hash(public(r_static))
        messages = ["e es s ss", "e ee se"]
    else:
        messages = ["e", "e ee s es", "s se"]
    out = []
    for number, tokens in enumerate(messages):
        sender, message = number % 2, b""
        for token in tokens.split():
            if token == "e":
                key = public(secrets["e"][sender])
                state.mix_hash(key)
                message += key
            elif token == "s":
                message += state.seal(public(secrets["s"][sender]))
            else:
                ours, theirs = secrets[token[0]][0], secrets[token[1]][1]
                state.mix_key(dh(ours, public(theirs)))
        out.append(message + state.seal(b""))
    return out, state.h, hkdf(state.ck, b"")


# Frames.


def frame(kind, body):
    return struct.pack(">BI", kind, len(body)) + body


def u32(number):
    return struct.pack(">I", number)


def u64(number):
    return struct.pack(">Q", number)


def hello(low, high, instance):
    return frame(1, struct.pack(">HHQ", low, high, instance))


def chunk_ref(space, index):
    return bytes([space]) + u64(index)


def pattern_bytes(length):
    """Byte `i` is `(i x 7 + i / 256) mod 256`, rounded down."""
    return bytes((i * 7 + i // 256) % 256 for i in range(length))


def chunk(request, proof, data):
    return frame(15, u32(request) + bytes([len(proof)]) + b"".join(proof) + data)


def record(message):
    return struct.pack(">H", len(message)) + message


def records():
    keys = {"initiator_secret_key": bytes([0x11] * 32), "responder_secret_key": bytes([0x22] * 32),
            "initiator_ephemeral": bytes([0x33] * 32), "responder_ephemeral": bytes([0x44] * 32)}
    vectors = []
    for pattern in ["IK", "XX"]:
        for suite in ["ChaChaPoly", "AESGCM"]:
            binding = b"" if pattern == "IK" else bytes(range(32))
            numbers = [["IK", "XX"].index(pattern), ["ChaChaPoly", "AESGCM"].index(suite)]
            preamble = b"\x8eTow" + struct.pack(">H", 1) + bytes(numbers)
            messages, h, split = handshake(
                pattern, suite, preamble + binding,
                keys["initiator_secret_key"], keys["initiator_ephemeral"],
                keys["responder_secret_key"], keys["responder_ephemeral"])
            there, back = Aead(suite, split[0]), Aead(suite, split[1])
            streams = {"initiator": preamble, "responder": b""}
            for number, message in enumerate(messages):
                streams["responder" if number % 2 else "initiator"] += record(message)
            plain = [
                ("initiator", there, hello(1, 1, 0x0102030405060708)),
                ("responder", back, hello(1, 1, 0x1112131415161718)),
                ("initiator", there, frame(8, u32(9) + u32(3) + chunk_ref(0, 5))),
                ("responder", back, chunk(9, [b"\xaa" * 32, b"\xbb" * 32], pattern_bytes(300))),
                ("initiator", there, frame(14, b"")),
            ]
            steps = []
            for who, aead, frames in plain:
                sealed = record(aead.seal(b"", frames))
                steps.append({"from": who, "frames": frames.hex(), "record": sealed.hex()})
            vectors.append({
                "name": f"Noise_{pattern}_25519_{suite}_SHA256",
                "channel_binding": binding.hex(),
                **{name: key.hex() for name, key in keys.items()},
                "initiator_handshake": streams["initiator"].hex(),
                "responder_handshake": streams["responder"].hex(),
                "handshake_hash": h.hex(),
                "steps": steps,
            })
    rekey = []
    for suite in ["ChaChaPoly", "AESGCM"]:
        aead, out = Aead(suite, bytes(range(32))), []
        for number in range(8):
            text = f"record {number}".encode()
            out.append({"plaintext": text.hex(), "message": aead.seal(b"", text).hex()})
            if (number + 1) % 3 == 0:
                aead.rekey()
        rekey.append({"suite": suite, "key": bytes(range(32)).hex(), "rekey_every": 3, "records": out})
    # A chunk that needs more than one record, as this implementation cuts it. Other cuts are as good.
    cut = []
    for length, hashes in [(65_509, 0), (65_510, 0), (69_615, 0), (69_616, 0), (262_144, 13)]:
        head = 10 + 32 * hashes
        over = length % 65_519
        first = head + length if head + length <= 65_519 else head + (over if over <= 4096 else 0)
        left, lengths = head + length - first, [first]
        while left:
            lengths.append(min(left, 65_519))
            left -= lengths[-1]
        cut.append({"chunk_bytes": length, "proof_hashes": hashes, "record_plaintext_bytes": lengths})
    write("records.json", "Whole sessions; a direction that rekeys (after 3 records instead of 2^20); how this "
          "implementation cuts chunks into records (not required)", vectors=vectors, rekey=rekey, cut=cut,
          refused=streams_refused())


def streams_refused():
    """What an initiator sends that a responder must close the session for, and why."""
    vector = {"initiator_secret_key": bytes([0x11] * 32), "responder_secret_key": bytes([0x22] * 32),
              "initiator_ephemeral": bytes([0x33] * 32), "responder_ephemeral": bytes([0x44] * 32)}
    preamble = b"\x8eTow" + struct.pack(">H", 1) + b"\x00\x00"
    messages, _, split = handshake("IK", "ChaChaPoly", preamble, *vector_order(vector))
    begin = preamble + record(messages[0])
    say_hello = hello(1, 1, 5)
    asked = frame(8, u32(1) + u32(3) + chunk_ref(0, 5))
    data = chunk(9, [bytes(32)], b"data")

    def stream(*plaintexts, spoil=None):
        aead = Aead("ChaChaPoly", split[0])
        records = [bytearray(record(aead.seal(b"", plain))) for plain in plaintexts]
        if spoil is not None:
            records[-1][spoil] ^= 1
        return begin + b"".join(records)

    def cut(text, length):
        return text[:len(text) - length]

    good = stream(say_hello)
    again = stream(say_hello, say_hello)[len(good):]
    cases = [
        ("a record without a byte", good + b"\x00\x10"),
        ("a record of length 0", good + b"\x00\x00"),
        ("a changed byte", stream(say_hello, asked, spoil=5)),
        ("a changed tag", stream(say_hello, asked, spoil=-1)),
        ("a record that is sent again", stream(say_hello, asked) + stream(say_hello, asked)[len(good):]),
        ("the records of another place", begin + again),
        ("no Hello first", stream(asked)),
        ("Hello twice", stream(say_hello, say_hello)),
        ("versions the wrong way round", stream(hello(2, 1, 5))),
        ("a type that is none, at its header", stream(say_hello, b"\x10" + u32(4))),
        ("a frame that is too long, at its header", stream(say_hello, b"\x0c" + u32(16385))),
        ("a chunk that is too long, at its header", stream(say_hello, b"\x0f" + u32(263110))),
        ("a body that is too short", stream(say_hello, frame(12, bytes(7)))),
        ("one request number twice", stream(say_hello, asked, asked)),
        ("a chunk that nobody asked for", stream(say_hello, chunk(8, [], b"data"))),
        ("a chunk for a request that has its answer", stream(say_hello, data, data)),
        ("an Unavailable that nobody asked for", stream(say_hello, frame(10, u32(8) + b"\x00"))),
        ("31 hashes", stream(say_hello, chunk(9, [bytes(32)] * 31, b"data"))),
        ("a chunk without a byte", stream(say_hello, chunk(9, [bytes(32)], b""))),
        ("a chunk of one byte too many, at its head",
         stream(say_hello, b"\x0f" + u32(5 + 32 + 262145) + u32(9) + b"\x01" + bytes(32))),
        ("another length of the first message", preamble + b"\x00\x61" + bytes(97)),
    ]
    return {**{name: key.hex() for name, key in vector.items()}, "asked": 9,
            "streams": [{"why": why, "stream": bytes(text).hex()} for why, text in cases]}


def vector_order(vector):
    return [vector[name] for name in ("initiator_secret_key", "initiator_ephemeral",
                                      "responder_secret_key", "responder_ephemeral")]


def preambles():
    names = [["IK", "XX"], ["ChaChaPoly", "AESGCM"]]
    magic = b"\x8eTow"
    good = [{"bytes": (magic + b"\x00\x01" + bytes([p, s])).hex(), "version": 1,
             "pattern": names[0][p], "suite": names[1][s]} for p in (0, 1) for s in (0, 1)]
    reasons = {"version": 1, "pattern": 2, "suite": 3, "key": 4}
    refusal = lambda reason: bytes(2) + magic + bytes([reasons[reason]])
    other = handshake("IK", "ChaChaPoly", magic + b"\x00\x01\x00\x00", bytes([0x11] * 32),
                      bytes([0x33] * 32), bytes([0x77] * 32), bytes([0x44] * 32))[0][0]
    # What comes, whether the responder takes XX and AESGCM, and why it refuses.
    bad = [
        (b"G", True, True, None),
        (b"\x16\x03\x01", True, True, None),
        (b"\x8eTox", True, True, None),
        (magic + b"\x00\x02\x00\x00", True, True, "version"),
        (magic + b"\x00\x00\x00\x00", True, True, "version"),
        (magic + b"\xff\xff\x09\x09", False, False, "version"),
        (magic + b"\x00\x01\x02\x02", True, True, "pattern"),
        (magic + b"\x00\x01\x01\x02", False, False, "suite"),
        (magic + b"\x00\x01\x00\x02", True, True, "suite"),
        (magic + b"\x00\x01\x01\x01", False, False, "pattern"),
        (magic + b"\x00\x01\x01\x00", False, True, "pattern"),
        (magic + b"\x00\x01\x00\x01", True, False, "suite"),
        (magic + b"\x00\x01\x00\x00" + record(other), True, True, "key"),
        (magic + b"\x00\x01\x00\x00" + record(b"\x09" * 96), True, True, "key"),
    ]
    # First answers that an initiator of IK gets, and what they mean to it.
    answers = [(refusal(reason), reason) for reason in reasons] + [
        (b"\x00\x00\x8eTow\x05", "not_ours"), (b"\x00\x00H", "not_ours"),
        (b"HTTP/1.1 400", "not_ours"), (b"\x00\x31", "not_ours"), (b"\x00\x60", "not_ours"),
    ]
    write("preamble.json", "Preambles; what a responder with the secret key 22…22 refuses, and its answer; what an "
          "initiator makes of first answers", vectors=good,
          refused=[{"from_initiator": data.hex(), "takes_xx": xx, "takes_aesgcm": aes,
                    "answer": refusal(why).hex() if why else "", "why": why} for data, xx, aes, why in bad],
          answers=[{"bytes": data.hex(), "means": means} for data, means in answers])


def frames():
    good = [
        ({"type": "Hello", "version_min": 1, "version_max": 3, "instance": 0x0102030405060708},
         hello(1, 3, 0x0102030405060708)),
        ({"type": "Hello", "version_min": 1, "version_max": 3, "instance": 7, "note": "of a later version"},
         frame(1, struct.pack(">HHQ", 1, 3, 7) + b"more")),
        ({"type": "Open", "handle": 1, "locator": "01" * 32, "proof": "02" * 32},
         frame(2, u32(1) + b"\x01" * 32 + b"\x02" * 32)),
        ({"type": "Opened", "handle": 1, "proof": "03" * 32, "kind": 1, "length": 2**31, "root": "04" * 32,
          "name": "Bücher"},
         frame(3, u32(1) + b"\x03" * 32 + b"\x01" + u64(2**31) + b"\x04" * 32 + b"\x00\x07B\xc3\xbccher")),
        ({"type": "Opened", "handle": 2, "proof": "03" * 32, "kind": 0, "length": 2**48, "root": "00" * 32,
          "name": ""},
         frame(3, u32(2) + b"\x03" * 32 + b"\x00" + u64(2**48) + bytes(32) + b"\x00\x00")),
        ({"type": "Refused", "handle": 0xFFFFFFFF}, frame(4, u32(0xFFFFFFFF))),
        ({"type": "HaveAll", "handle": 1, "space": 0}, frame(5, u32(1) + b"\x00")),
        ({"type": "HaveBits", "handle": 1, "space": 1, "first": 2**26 - 16, "bits": "a501"},
         frame(6, u32(1) + b"\x01" + u64(2**26 - 16) + b"\xa5\x01")),
        ({"type": "HaveChunk", "handle": 1, "space": 1, "index": 2**26 - 1},
         frame(7, u32(1) + chunk_ref(1, 2**26 - 1))),
        ({"type": "Request", "request": 0x05060708, "handle": 0x01020304, "space": 0, "index": 9},
         frame(8, u32(0x05060708) + u32(0x01020304) + chunk_ref(0, 9))),
        ({"type": "Cancel", "request": 6}, frame(9, u32(6))),
        ({"type": "Unavailable", "request": 6, "reason": 3}, frame(10, u32(6) + b"\x03")),
        ({"type": "Complete", "handle": 1}, frame(11, u32(1))),
        ({"type": "Ping", "token": 2**63 + 1}, frame(12, u64(2**63 + 1))),
        ({"type": "Pong", "token": 2}, frame(13, u64(2))),
        ({"type": "Bye"}, frame(14, b"")),
    ]
    bad = [
        ("a type that is none", frame(0, b"")),
        ("another", frame(16, u32(1))),
        ("cut", frame(2, u32(1) + bytes(63))),
        ("too long", frame(9, u32(1) + b"\x00")),
        ("a body where there is none", frame(14, b"\x00")),
        ("versions the wrong way round", hello(3, 1, 0)),
        ("a kind that is none", frame(3, u32(1) + bytes(32) + b"\x02" + u64(1) + bytes(32) + b"\x00\x00")),
        ("a file that is too long", frame(3, u32(1) + bytes(32) + b"\x00" + u64(2**48 + 1) + bytes(32) + b"\x00\x00")),
        ("a name that is too long", frame(3, u32(1) + bytes(32) + b"\x00" + u64(1) + bytes(32) + b"\x01\x00" + b"n" * 256)),
        ("a name that is not UTF-8", frame(3, u32(1) + bytes(32) + b"\x00" + u64(1) + bytes(32) + b"\x00\x01\xff")),
        ("a name that is cut", frame(3, u32(1) + bytes(32) + b"\x00" + u64(1) + bytes(32) + b"\x00\x05name")),
        ("a space that is none", frame(5, u32(1) + b"\x02")),
        ("no bits", frame(6, u32(1) + b"\x00" + u64(0))),
        ("too many bits", frame(6, u32(1) + b"\x00" + u64(0) + bytes(4097))),
        ("first is no multiple of 8", frame(6, u32(1) + b"\x00" + u64(4) + b"\x01")),
        ("bits behind the last possible chunk", frame(6, u32(1) + b"\x00" + u64(2**26 - 8) + b"\x01\x01")),
        ("first overflows", frame(6, u32(1) + b"\x00" + u64(2**64 - 8) + b"\x01")),
        ("an index out of range", frame(8, u32(1) + u32(1) + chunk_ref(0, 2**26))),
        ("a reason that is none", frame(10, u32(1) + b"\x04")),
    ]
    write("frames.json", "Frames and what they say; frames that must be refused",
          vectors=[{"frame": data.hex(), "message": message} for message, data in good],
          refused=[{"frame": data.hex(), "why": why} for why, data in bad])


def proofs():
    vectors = []
    for secret in [bytes(32), bytes(range(32)), b"\xff" * 32]:
        for role in [1, 2]:
            locator, h = hashlib.sha256(b"locator").digest(), hashlib.sha256(b"handshake").digest()
            text = b"towpath proof v1" + bytes([role]) + locator + h
            vectors.append({"secret": secret.hex(), "role": role, "locator": locator.hex(),
                            "handshake_hash": h.hex(), "proof": mac(secret, text).hex()})
    write("proof.json", "Proofs that open a share", vectors=vectors)


records()
frames()
proofs()
preambles()
