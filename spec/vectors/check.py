#!/usr/bin/env python3
"""Checks every vector of this folder with an implementation of its own, written from the chapters.

It needs nothing but Python's standard library: X25519, ChaCha20-Poly1305 and AES-GCM are here too, slow and
plain. So whoever doubts the Rust code, or writes another, has a second opinion: ./check.py says what it counted.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import re
import struct
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))
LEAF, CHUNK = 16 * 1024, 256 * 1024
counts = {}


def load(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return json.load(file)


def count(what, good=True):
    assert good, what
    counts[what] = counts.get(what, 0) + 1


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


unhex = bytes.fromhex


class Refused(Exception):
    """One word."""


def need(condition, word):
    if not condition:
        raise Refused(word)


def refuses(function, *arguments):
    """The word with which a function refuses, or None."""
    try:
        function(*arguments)
    except Refused as refused:
        return str(refused)
    return None


# Primitives: RFC 7748, RFC 8439, FIPS 197, NIST SP 800-38D.


def x25519(secret, u):
    p = 2**255 - 19
    k = bytearray(secret)
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k, x1 = int.from_bytes(k, "little"), int.from_bytes(u, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % p, b * b % p, d * a % p, c * b % p
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        e = aa - bb
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def public(secret):
    return x25519(secret, b"\x09" + bytes(31))


def dh(secret, theirs):
    shared = x25519(secret, theirs)
    need(shared != bytes(32), "an all-zero result")
    return shared


def chacha_block(key, counter, nonce):
    start = list(struct.unpack("<16I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce))
    s = start[:]

    def quarter(a, b, c, d):
        for one, two, three, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[one] = s[one] + s[two] & 0xFFFFFFFF
            mixed = s[three] ^ s[one]
            s[three] = (mixed << shift | mixed >> 32 - shift) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, column + 4, column + 8, column + 12)
        for row in range(4):
            quarter(row, (row + 1) % 4 + 4, (row + 2) % 4 + 8, (row + 3) % 4 + 12)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(s, start)))


def chacha_seal(key, nonce, ad, text):
    stream = b"".join(chacha_block(key, 1 + i, nonce) for i in range(-(-len(text) // 64)))
    sealed = bytes(a ^ b for a, b in zip(text, stream))
    once = chacha_block(key, 0, nonce)
    r, s = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF, once[16:32]
    pad = lambda data: data + bytes(-len(data) % 16)
    sums = 0
    data = pad(ad) + pad(sealed) + struct.pack("<QQ", len(ad), len(sealed))
    for i in range(0, len(data), 16):
        sums = (sums + int.from_bytes(data[i:i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return sealed + ((sums + int.from_bytes(s, "little")) % 2**128).to_bytes(16, "little")


def aes_tables():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= p << 1 & 0xFF ^ (0x1B if p & 0x80 else 0)
        for shift in (1, 2, 4):
            q ^= q << shift & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        turn = lambda n: (q << n | q >> 8 - n) & 0xFF
        box[p] = q ^ turn(1) ^ turn(2) ^ turn(3) ^ turn(4) ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return box


BOX = aes_tables()
twice = lambda byte: byte << 1 & 0xFF ^ (0x1B if byte & 0x80 else 0)


def aes_keys(key):
    words, round_word = [key[i:i + 4] for i in range(0, 32, 4)], 1
    while len(words) < 60:
        word = words[-1]
        if len(words) % 8 == 0:
            word = bytes(BOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ round_word]) + word[1:]
            round_word = twice(round_word)
        elif len(words) % 8 == 4:
            word = bytes(BOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(words[-8], word)))
    return [b"".join(words[i:i + 4]) for i in range(0, 60, 4)]


def aes_block(keys, block):
    s = [a ^ b for a, b in zip(block, keys[0])]
    for number, key in enumerate(keys[1:], 1):
        s = [BOX[s[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if number < len(keys) - 1:
            mixed = []
            for c in range(0, 16, 4):
                a = s[c:c + 4]
                every = a[0] ^ a[1] ^ a[2] ^ a[3]
                mixed += [a[i] ^ every ^ twice(a[i] ^ a[(i + 1) % 4]) for i in range(4)]
            s = mixed
        s = [a ^ b for a, b in zip(s, key)]
    return bytes(s)


def gcm_seal(key, nonce, ad, text):
    keys = aes_keys(key)
    h = int.from_bytes(aes_block(keys, bytes(16)), "big")
    blocks = [aes_block(keys, nonce + struct.pack(">I", 2 + i)) for i in range(-(-len(text) // 16))]
    sealed = bytes(a ^ b for a, b in zip(text, b"".join(blocks)))
    pad = lambda data: data + bytes(-len(data) % 16)
    data, y = pad(ad) + pad(sealed) + struct.pack(">QQ", 8 * len(ad), 8 * len(sealed)), 0
    for i in range(0, len(data), 16):
        x, z, v = y ^ int.from_bytes(data[i:i + 16], "big"), 0, h
        for bit in reversed(range(128)):
            z ^= v if x >> bit & 1 else 0
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
        y = z
    last = aes_block(keys, nonce + b"\0\0\0\1")
    return sealed + bytes(a ^ b for a, b in zip(y.to_bytes(16, "big"), last))


# Noise, chapter 3.


class Cipher:
    def __init__(self, suite, key):
        self.suite, self.key, self.counter = suite, key, 0

    def at(self, counter, ad, text):
        if self.suite == "AESGCM":
            return gcm_seal(self.key, struct.pack(">IQ", 0, counter), ad, text)
        return chacha_seal(self.key, struct.pack("<IQ", 0, counter), ad, text)

    def seal(self, ad, text):
        self.counter += 1
        return self.at(self.counter - 1, ad, text)

    def open(self, ad, sealed):
        """Both AEADs encrypt with a stream, so that sealing twice opens; the tag is compared."""
        stream = self.at(self.counter, ad, bytes(len(sealed) - 16))[:-16]
        text = bytes(a ^ b for a, b in zip(sealed, stream))
        need(self.at(self.counter, ad, text) == sealed, "forged")
        self.counter += 1
        return text

    def rekey(self):
        self.key = self.at(2**64 - 1, b"", bytes(32))[:32]


TOKENS = {"IK": ["e es s ss", "e ee se"], "XX": ["e", "e ee s es", "s se"]}


class Noise:
    """One side of a handshake."""

    def __init__(self, pattern, suite, initiator, prologue, static, ephemeral, remote=None):
        name = f"Noise_{pattern}_25519_{suite}_SHA256".encode()
        self.h = self.ck = name.ljust(32, b"\0") if len(name) <= 32 else sha(name)
        self.suite, self.initiator, self.cipher = suite, initiator, None
        self.ours = {"s": static, "e": ephemeral}
        self.theirs = {"s": remote}
        self.left = list(TOKENS[pattern])
        self.mix(prologue)
        if pattern == "IK":
            self.mix(remote if initiator else public(static))

    def mix(self, data):
        self.h = sha(self.h, data)

    def hkdf(self, data):
        temp = hmac.digest(self.ck, data, "sha256")
        one = hmac.digest(temp, b"\1", "sha256")
        return one, hmac.digest(temp, one + b"\2", "sha256")

    def mix_key(self, token):
        mine, its = (token[0], token[1]) if self.initiator else (token[1], token[0])
        self.ck, key = self.hkdf(dh(self.ours[mine], self.theirs[its]))
        self.cipher = Cipher(self.suite, key)

    def seal(self, text):
        sealed = self.cipher.seal(self.h, text) if self.cipher else text
        self.mix(sealed)
        return sealed

    def open(self, sealed):
        text = self.cipher.open(self.h, sealed) if self.cipher else sealed
        self.mix(sealed)
        return text

    def write(self, payload=b""):
        out = b""
        for token in self.left.pop(0).split():
            if token == "e":
                out += public(self.ours["e"])
                self.mix(public(self.ours["e"]))
            elif token == "s":
                out += self.seal(public(self.ours["s"]))
            else:
                self.mix_key(token)
        return out + self.seal(payload)

    def read(self, message):
        for token in self.left.pop(0).split():
            if token == "e":
                self.theirs["e"], message = message[:32], message[32:]
                self.mix(self.theirs["e"])
            elif token == "s":
                length = 48 if self.cipher else 32
                self.theirs["s"], message = self.open(message[:length]), message[length:]
            else:
                self.mix_key(token)
        need(len(message) >= (16 if self.cipher else 0), "length")
        return self.open(message)

    def split(self):
        one, two = self.hkdf(b"")
        return Cipher(self.suite, one), Cipher(self.suite, two)


def check_noise():
    for vector in load("noise.json")["vectors"]:
        _, pattern, _, suite, _ = vector["protocol_name"].split("_")
        sides = []
        for who, initiator in (("init", True), ("resp", False)):
            part = lambda name: unhex(vector.get(f"{who}_{name}") or "")
            sides.append(Noise(pattern, suite, initiator, part("prologue"), part("static"), part("ephemeral"),
                               part("remote_static") or None))
        ciphers = None
        for number, message in enumerate(vector["messages"]):
            payload, wire = unhex(message["payload"]), unhex(message["ciphertext"])
            writer, reader = sides[number % 2], sides[1 - number % 2]
            if writer.left:
                count("noise messages", writer.write(payload) == wire and reader.read(wire) == payload)
                continue
            assert sides[0].h == sides[1].h == unhex(vector["handshake_hash"])
            ciphers = ciphers or sides[0].split()
            count("noise messages", ciphers[number % 2].seal(b"", payload) == wire)


def records_of(stream):
    while stream:
        length = int.from_bytes(stream[:2], "big")
        need(len(stream) < 2 or length > 16, "record too short")
        assert len(stream) >= 2 + length, "the rest would be waited for"
        yield stream[2:2 + length]
        stream = stream[2 + length:]


MAGIC = b"\x8eTow"
SUITES, PATTERNS = ["ChaChaPoly", "AESGCM"], ["IK", "XX"]


def preamble(data):
    need(MAGIC.startswith(data[:4]), "not_ours")
    if len(data) < 8:
        return None
    need(data[4:6] == b"\0\1", "version")
    need(data[6] < 2, "pattern")
    need(data[7] < 2, "suite")
    return PATTERNS[data[6]], SUITES[data[7]]


def respond(vector, secret):
    data = unhex(vector["from_initiator"])
    pattern, suite = preamble(data)
    need(pattern == "IK" or vector["takes_xx"], "pattern")
    need(suite == "ChaChaPoly" or vector["takes_aesgcm"], "suite")
    noise = Noise(pattern, suite, False, data[:8], secret, bytes([0x44] * 32))
    try:
        noise.read(data[10:])
    except Refused:
        raise Refused("key") from None


def first_answer(data):
    if data[:2] != b"\0\0":
        need(data[:2] == b"\0\x30", "not_ours")
        return
    need((b"\0\0" + MAGIC).startswith(data[:6]) and (len(data) < 7 or 1 <= data[6] <= 4), "not_ours")
    raise Refused(["version", "pattern", "suite", "key"][data[6] - 1])


def check_preambles():
    file = load("preamble.json")
    for vector in file["vectors"]:
        count("preambles", preamble(unhex(vector["bytes"])) == (vector["pattern"], vector["suite"]))
    for vector in file["refused"]:
        word = refuses(respond, vector, bytes([0x22] * 32))
        answer = unhex(vector["answer"])
        count("preambles refused", word == (vector["why"] or "not_ours"))
        assert (refuses(first_answer, answer) if answer else None) == vector["why"]
    for vector in file["answers"]:
        count("first answers", refuses(first_answer, unhex(vector["bytes"])) == vector["means"])


# Frames, chapter 4.


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, length, word="truncated"):
        need(len(self.data) >= length, word)
        head, self.data = self.data[:length], self.data[length:]
        return head

    def number(self, length, most=None, word="out of range"):
        value = int.from_bytes(self.take(length), "big")
        need(most is None or value <= most, word)
        return value

    def text(self, most):
        text = self.take(self.number(2, most, "too_long"))
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise Refused("not_utf8") from None

    def end(self):
        need(not self.data, "trailing_bytes")


def decode_frame(kind, body):
    r = Reader(body)
    space = lambda: r.number(1, 1)
    index = lambda: r.number(8, 2**26 - 1)
    if kind == 1:
        message = {"type": "Hello", "version_min": r.number(2), "version_max": r.number(2), "instance": r.number(8)}
        need(message["version_min"] <= message["version_max"], "version range")
        return message
    if kind == 2:
        message = {"type": "Open", "handle": r.number(4), "locator": r.take(32).hex(), "proof": r.take(32).hex()}
    elif kind == 3:
        message = {"type": "Opened", "handle": r.number(4), "proof": r.take(32).hex(), "kind": r.number(1, 1),
                   "length": r.number(8, 2**48), "root": r.take(32).hex(), "name": r.text(255)}
    elif kind == 5:
        message = {"type": "HaveAll", "handle": r.number(4), "space": space()}
    elif kind == 6:
        message = {"type": "HaveBits", "handle": r.number(4), "space": space(), "first": r.number(8)}
        bits = r.take(len(r.data))
        need(0 < len(bits) <= 4096 and message["first"] % 8 == 0, "have bits")
        need(message["first"] + 8 * len(bits) <= 2**26, "out of range")
        message["bits"] = bits.hex()
    elif kind == 7:
        message = {"type": "HaveChunk", "handle": r.number(4), "space": space(), "index": index()}
    elif kind == 8:
        message = {"type": "Request", "request": r.number(4), "handle": r.number(4), "space": space(),
                   "index": index()}
    elif kind == 10:
        message = {"type": "Unavailable", "request": r.number(4), "reason": r.number(1, 3)}
    elif kind in (4, 11):
        message = {"type": "Refused" if kind == 4 else "Complete", "handle": r.number(4)}
    elif kind == 9:
        message = {"type": "Cancel", "request": r.number(4)}
    elif kind in (12, 13):
        message = {"type": "Ping" if kind == 12 else "Pong", "token": r.number(8)}
    else:
        need(kind == 14, "a type that is none")
        message = {"type": "Bye"}
    r.end()
    return message


def check_frames():
    file = load("frames.json")
    for vector in file["vectors"]:
        data = unhex(vector["frame"])
        assert int.from_bytes(data[1:5], "big") == len(data) - 5
        said = {name: value for name, value in vector["message"].items() if name != "note"}
        count("frames", decode_frame(data[0], data[5:]) == said)
    for vector in file["refused"]:
        data = unhex(vector["frame"])
        count("frames refused", refuses(decode_frame, data[0], data[5:]) is not None)


class Session:
    """A responder after the handshake: what it takes of the initiator, and what ends it."""

    def __init__(self, cipher, asked):
        self.cipher, self.asked, self.greeted, self.open, self.plain = cipher, {asked}, False, set(), b""

    def receive(self, stream):
        for message in records_of(stream):
            self.plain += self.cipher.open(b"", message)
            while self.frame():
                pass

    def frame(self):
        if len(self.plain) < 5:
            return False
        kind, length = self.plain[0], int.from_bytes(self.plain[1:5], "big")
        need(1 <= kind <= 15, "type")
        need(length <= (263_109 if kind == 15 else 16_384), "too long")
        body = self.plain[5:5 + length]
        if kind == 15 and len(body) >= 5:
            request, hashes = int.from_bytes(body[:4], "big"), body[4]
            need(request in self.asked and hashes <= 30, "chunk")
            need(1 <= length - 5 - 32 * hashes <= CHUNK, "length")
        if len(body) < length:
            return False
        self.plain = self.plain[5 + length:]
        if kind == 15:
            need(length >= 6, "length")
            self.asked.remove(request)
            return True
        message = decode_frame(kind, body)
        need((message["type"] == "Hello") != self.greeted, "hello")
        self.greeted = True
        if message["type"] == "Request":
            need(message["request"] not in self.open, "twice")
            self.open.add(message["request"])
        if message["type"] == "Unavailable":
            need(message["request"] in self.asked, "not asked")
            self.asked.remove(message["request"])
        return True


def serve(vector, stream):
    secret, ephemeral = unhex(vector["responder_secret_key"]), unhex(vector["responder_ephemeral"])
    pattern, suite = preamble(stream[:8])
    noise = Noise(pattern, suite, False, stream[:8], secret, ephemeral)
    need(stream[8:10] == b"\0\x60", "length of the first message")
    noise.read(stream[10:106])
    noise.write()
    Session(noise.split()[0], vector["asked"]).receive(stream[106:])


def check_records():
    file = load("records.json")
    for vector in file["vectors"]:
        _, pattern, _, suite, _ = vector["name"].split("_")
        begin = MAGIC + b"\0\1" + bytes([PATTERNS.index(pattern), SUITES.index(suite)])
        prologue = begin + unhex(vector["channel_binding"])
        part = lambda name: unhex(vector[name])
        remote = public(part("responder_secret_key"))
        sides = [Noise(pattern, suite, True, prologue, part("initiator_secret_key"), part("initiator_ephemeral"),
                       remote if pattern == "IK" else None),
                 Noise(pattern, suite, False, prologue, part("responder_secret_key"), part("responder_ephemeral"))]
        streams, number = [begin, b""], 0
        while sides[0].left:
            message = sides[number % 2].write()
            assert sides[1 - number % 2].read(message) == b""
            streams[number % 2] += struct.pack(">H", len(message)) + message
            number += 1
        assert streams == [part("initiator_handshake"), part("responder_handshake")]
        count("sessions", sides[0].h == sides[1].h == part("handshake_hash"))
        ciphers = dict(zip(("initiator", "responder"), sides[0].split()))
        for step in vector["steps"]:
            sealed = ciphers[step["from"]].seal(b"", unhex(step["frames"]))
            count("records", struct.pack(">H", len(sealed)) + sealed == unhex(step["record"]))
    for vector in file["rekey"]:
        cipher = Cipher(vector["suite"], unhex(vector["key"]))
        for record in vector["records"]:
            count("records", cipher.seal(b"", unhex(record["plaintext"])) == unhex(record["message"]))
            if cipher.counter % vector["rekey_every"] == 0:
                cipher.rekey()
    refused = file["refused"]
    for vector in refused["streams"]:
        count("streams refused", refuses(serve, refused, unhex(vector["stream"])) is not None)


def check_proofs():
    for vector in load("proof.json")["vectors"]:
        text = b"towpath proof v1" + bytes([vector["role"]]) + unhex(vector["locator"]) + unhex(
            vector["handshake_hash"])
        count("proofs", hmac.digest(unhex(vector["secret"]), text, "sha256").hex() == vector["proof"])


# Content, chapters 1 and 2.


def padding(level):
    return bytes(32) if level == 0 else sha(padding(level - 1) * 2)


def height(length):
    return max(0, (-(-length // LEAF) - 1).bit_length())


def subtree(data, level):
    if not data:
        return padding(level)
    if level == 0:
        return sha(data)
    half = LEAF << level - 1
    return sha(subtree(data[:half], level - 1), subtree(data[half:], level - 1))


def verify(root, length, level, index, proof, data):
    need(length <= 2**48 and level <= min(4, height(length)), "no such range")
    size = LEAF << level
    need(index < -(-length // size), "no such range")
    need(len(data) == min(size, length - index * size), "length of the data")
    need(len(proof) == height(length) - level, "number of hashes")
    node = subtree(data, level)
    for sibling in proof:
        node = sha(sibling, node) if index & 1 else sha(node, sibling)
        index >>= 1
    need(node == root, "another root")


def check_merkle():
    vectors, ranges = load("merkle.json")["vectors"], load("ranges.json")
    longest = max(vector["length_bytes"] for vector in vectors)
    content = bytes((i * 0x9E3779B97F4A7C15 & 2**64 - 1) >> 56 for i in range(longest))
    for vector in vectors:
        length, root = vector["length_bytes"], unhex(vector["root"])
        tall = height(length)
        assert root == (subtree(content[:length], tall) if length else bytes(32))
        level = min(4, tall)
        chunks = [subtree(content[i:min(i + CHUNK, length)], level) for i in range(0, length, CHUNK)]
        assert [chunk.hex() for chunk in chunks] == vector["chunk_hashes"]
        for name, level, size in (("chunk", level, CHUNK), ("leaf", 0, LEAF)):
            for case in vector[f"{name}_proofs"]:
                start = case[name] * size
                data = content[start:min(start + size, length)]
                verify(root, length, level, case[name], [unhex(h) for h in case["proof"]], data)
                count("merkle proofs")

    def judge(vector):
        verify(unhex(vector["root"]), vector["length_bytes"], vector["level"], vector["index"],
               [unhex(h) for h in vector["proof"]], content[vector["start"]:vector["end"]])

    for vector in ranges["vectors"]:
        judge(vector)
        data = content[vector["start"]:vector["end"]]
        count("merkle proofs", subtree(data, vector["level"]).hex() == vector["hash"])
    for vector in ranges["refused"]:
        count("merkle proofs refused", refuses(judge, vector) is not None)


def check_ids():
    file = load("ids.json")
    for vector in file["vectors"]:
        id = sha(b"towpath id v1", bytes([vector["kind"]]), vector["length_bytes"].to_bytes(8, "big"),
                 unhex(vector["root"]))
        secret = vector.get("secret")
        locator = sha(b"towpath locator v1", unhex(secret), id) if secret else id
        count("ids", (id.hex(), locator.hex()) == (vector["id"], vector["locator"]))
    for text in file["refused"]:
        count("ids refused", not re.fullmatch("[0-9a-f]{64}", text) or text.endswith("\n"))


def parse_link(text):
    text = text.strip()
    scheme = re.match("https?://", text, re.IGNORECASE)
    need(scheme, "not_a_url")
    end = re.search("[/?#]", text[scheme.end():])
    end = scheme.end() + end.start() if end else len(text)
    tracker, rest = text[:end], text[end:]
    host = re.fullmatch(r"(\[[^\]]*\]|[A-Za-z0-9._-]{1,253})(?::([0-9]+))?", tracker[scheme.end():])
    need(host and len(tracker) <= 512, "not_a_url")
    if host[1][0] == "[":
        try:
            need("%" not in host[1], "not_a_url")
            ipaddress.IPv6Address(host[1][1:-1])
        except ValueError:
            raise Refused("not_a_url") from None
    need(host[2] is None or 1 <= int(host[2]) <= 65535, "not_a_url")
    path, mark, secret = rest.partition("#")
    begins = "/f/".startswith(path) or re.fullmatch("/f/[0-9a-f]{0,63}", path)
    need(mark or not begins, "cut")
    need(re.fullmatch("/f/[0-9a-f]{64}", path), "bad_locator")
    if not mark:
        return tracker.lower(), path[3:], None
    need(not re.fullmatch("[A-Za-z0-9_-]{0,42}", secret), "cut")
    need(re.fullmatch("[A-Za-z0-9_-]{43}", secret), "bad_secret")
    raw = base64.urlsafe_b64decode(secret + "=")
    need(base64.urlsafe_b64encode(raw) == secret.encode() + b"=", "bad_secret")
    return tracker.lower(), path[3:], raw.hex()


def check_links():
    file = load("links.json")
    for vector in file["vectors"]:
        count("links", parse_link(vector["text"]) == (vector["tracker"], vector["locator"], vector["secret"]))
    for vector in file["refused"]:
        count("links refused", refuses(parse_link, vector["text"]) == vector["error"])


UNSEEN = ("0000-001F 007F-009F 00AD 034F 061C 115F 1160 17B4 17B5 180B-180F 200B-200F 2028-202E 2060-206F 3164 "
          "FEFF FFA0 FFF0-FFFB E0000-E0FFF").split()
UNSEEN = [[int(end, 16) for end in (run.split("-") * 2)[:2]] for run in UNSEEN]
WHITE = set("\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}


def harmless(name):
    best = "download"
    for part in re.split(r"[/\\]", name):
        part = "".join(c for c in part if not any(a <= ord(c) <= b for a, b in UNSEEN))
        part = part.lstrip("." + "".join(WHITE)).encode()[:255].decode(errors="ignore").rstrip("".join(WHITE))
        best = part or best
    return best


def check_names():
    assert unicodedata.unidata_version
    for vector in load("names.json")["vectors"]:
        count("names", harmless(vector["suggested"]) == vector["name"])


def climb(path, target):
    """The path that a target names, unless it may not (C23, C24)."""
    need(target, "link_empty")
    need(len(target) <= 3072, "link_too_long")
    need(target[:1] != b"/", "link_absolute")
    need(b"\0" not in target, "link_nul")
    names, climbs = [], 0
    for name in target.split(b"/"):
        if name == b"..":
            need(not names, "link_dot_dot_after_name")
            climbs += 1
        elif name not in (b"", b"."):
            names.append(name)
    above = path.split(b"/")[:-1]
    need(climbs <= len(above), "link_leaves_share")
    return b"/".join(above[:len(above) - climbs] + names)


def check_path(path):
    need(path, "path_empty")
    need(len(path) <= 3072, "path_too_long")
    need(path[:1] != b"/", "path_absolute")
    need(b"\0" not in path, "path_nul")
    names = path.split(b"/")
    need(all(names), "path_empty_component")
    need(not {b".", b".."} & set(names), "path_dot_component")
    need(all(len(name) <= 255 for name in names), "name_too_long")
    need(len(names) <= 128, "path_too_deep")


def read_manifest(data):
    need(len(data) <= 2**31, "manifest_too_long")
    r, entries, chunks = Reader(data), [], 0
    known = {}
    if len(data) >= 16:
        need(r.take(16) == b"towpath manifest", "not_a_manifest")
        need(r.number(1) == 1, "unknown_manifest_version")
    else:
        r.take(17)
    while r.data:
        offset = len(data) - len(r.data)
        kind = r.number(1, 2, "unknown_entry_kind")
        mode, seconds, nanoseconds = r.number(2), r.number(8), r.number(4)
        path = r.take(r.number(2, 3072, "path_too_long"))
        entry = {"kind": ["folder", "file", "link"][kind], "path": path.hex(), "mode": mode,
                 "seconds": seconds - (seconds >> 63 << 64), "nanoseconds": nanoseconds}
        if kind == 1:
            entry |= {"length_bytes": r.number(8), "root": r.take(32).hex()}
        if kind == 2:
            entry["target"] = r.take(r.number(2, 3072, "link_too_long")).hex()
        need(mode <= 0o777, "bad_mode")
        need(nanoseconds <= 999_999_999, "bad_nanoseconds")
        if kind != 0 or path:
            if kind == 1:
                need(entry["length_bytes"] <= 2**48, "file_too_long")
                need(entry["length_bytes"] or entry["root"] == "00" * 32, "root_of_empty_file")
            check_path(path)
            if kind == 2:
                climb(path, unhex(entry["target"]))
        if entries:
            last = unhex(entries[-1]["path"])
            need(last != path, "duplicate")
            need(last.replace(b"/", b"\0") < path.replace(b"/", b"\0"), "wrong_order")
        above = path.rpartition(b"/")[0]
        if b"/" in path:
            need(above in known, "parent_missing")
            need(known[above] == 0, "parent_not_folder")
        known[path] = kind
        entries.append(entry | {"offset": offset, "first_chunk": chunks})
        chunks += -(-entry.get("length_bytes", 0) // CHUNK)
        need(chunks <= 2**26, "too_many_chunks")
        need(len(entries) <= 2**23, "too_many_entries")
    return entries, chunks


def leads(entries, path, target):
    """Follows a link as C25 says."""
    at = {unhex(entry["path"]): entry for entry in entries}
    goal = climb(path, target)
    for _ in range(40):
        if not goal or goal in at:
            return
        names = goal.split(b"/")
        for length in range(1, len(names)):
            step = at.get(b"/".join(names[:length]))
            need(step and step["kind"] != "file", "link_target_missing")
            if step["kind"] == "link":
                head = climb(unhex(step["path"]), unhex(step["target"]))
                goal = b"/".join([head] * bool(head) + names[length:])
                break
        else:
            break
    raise Refused("link_target_missing")


def check_manifests():
    file = load("manifest.json")
    for vector in file["vectors"]:
        entries, chunks = read_manifest(unhex(vector["bytes"]))
        total = sum(entry.get("length_bytes", 0) for entry in entries)
        count("manifests", (entries, chunks, total) == (
            vector["entries"], vector["chunks"], vector["content_bytes"]))
    for vector in file["refused"]:
        word = refuses(read_manifest, unhex(vector["bytes"]))
        count("manifests refused", word == vector["error"])
    for vector in file["resolved"]:
        try:
            names = climb(vector["link"].encode(), vector["target"].encode()).decode()
        except Refused:
            names = None
        count("targets of links", names == vector["names"])

    def follow(data):
        entries, _ = read_manifest(data)
        for entry in entries:
            if entry["kind"] == "link":
                leads(entries, unhex(entry["path"]), unhex(entry["target"]))

    for vector in file["targets"]:
        count("targets of links", refuses(follow, unhex(vector["bytes"])) == vector["error"])


# The relay, chapter 5.

HUB = 1 << 31
WINDOW = 16 << 20


def control(direction, data):
    r = Reader(data)
    kind = r.number(1)
    credit = lambda: (lambda n: (need(n, "empty_credit"), n)[1])(r.number(4, WINDOW, "window_too_large"))
    window = lambda: r.number(4, WINDOW, "window_too_large")
    nonce = lambda name: (name, {"nonce": str(r.number(8))})
    circuit = lambda: r.number(4)

    def reason(values, word):
        value = r.number(1)
        need(value in values, word)
        return value

    def instance():
        return {"peer": r.take(32).hex(), "instance": str(r.number(8))}

    def address():
        ip = ipaddress.IPv6Address(r.take(16))
        return str(ip.ipv4_mapped or ip)

    up, down = direction == "to_hub", direction == "to_client"
    if kind == 1 and up:
        said = "login", {"instance": str(r.number(8))}
    elif kind == 2 and up:
        said = "open", {"circuit": circuit(), "window_bytes": window(), **instance()}
    elif kind == 3 and up:
        said = "accept", {"circuit": circuit(), "window_bytes": window()}
    elif kind == 4 and up:
        said = "refuse", {"circuit": circuit()}
    elif kind == 5 and up:
        said = "close", {"circuit": circuit()}
    elif kind == 5:
        said = "close", {"circuit": circuit(), "reason": reason(range(3), "unknown_circuit_end")}
    elif kind == 6:
        said = "credit", {"circuit": circuit(), "bytes": credit()}
    elif kind == 7 and up:
        said = "returned", {"circuit": circuit(), "bytes": window()}
    elif kind in (8, 9):
        said = nonce("ping" if kind == 8 else "pong")
    elif kind == 10 and down:
        said = "welcome", {"token": r.text(256), "observed": address(), "max_circuits": r.number(4)}
    elif kind == 11 and down:
        said = "token", {"token": r.text(256)}
    elif kind == 12 and down:
        said = "incoming", {"circuit": circuit(), "window_bytes": window(), "hub_bytes": window(), **instance()}
    elif kind == 13 and down:
        said = "opened", {"circuit": circuit(), "window_bytes": window(), "hub_bytes": window()}
    elif kind == 14 and down:
        said = "open_failed", {"circuit": circuit(), "reason": reason(range(1, 5), "unknown_open_error")}
    elif kind in (15, 16) and down:
        said = "hub_credit" if kind == 15 else "reclaim", {"circuit": circuit(), "bytes": credit()}
    else:
        need(kind == 17 and down, "unknown_control")
        said = "goodbye", {"reason": reason(range(1, 6), "unknown_goodbye")}
    r.end()
    return said


def message_kind(data):
    need(data, "empty_frame")
    need(data[0] <= 2, "unknown_frame")
    need(data[0] != 2 or len(data) > 5, "empty_data")
    need(len(data) <= (5 + 65536 if data[0] == 2 else 513), "frame_too_long")
    return data[0]


def log_in(login, messages):
    """The hub, as far as a login and the first words after it."""
    hub = Noise("XX", "ChaChaPoly", False, unhex(login["prologue"]), unhex(login["hub_static"]),
                unhex(login["hub_ephemeral"]))
    key, online = None, False
    for data in messages:
        kind = message_kind(data)
        if kind == 0:
            need(hub.left and len(data) == (33 if len(hub.left) == 3 else 65), "handshake")
            need(hub.read(data[1:]) == b"", "payload")
            if hub.left:
                hub.write()
            else:
                key = hub.split()[0]
            continue
        need(key and (online or kind == 1), "too early")
        need(kind == 1, "unknown_circuit")
        name, fields = control("to_hub", key.open(b"", data[1:]))
        need((name == "login") != online, "login")
        online = True
        need("circuit" not in fields, "unknown_circuit")


def check_relay():
    file = load("relay.json")
    for direction in ("to_hub", "to_client"):
        for vector in file[direction]:
            said = control(direction, unhex(vector["plaintext"]))
            count("control messages", said == (vector["name"], vector["fields"]))
    for vector in file["broken_control"]:
        word = refuses(control, vector["direction"], unhex(vector["plaintext"]))
        count("control messages refused", word == vector["rule"])
    for vector in file["broken_messages"]:
        count("messages refused", refuses(message_kind, unhex(vector["message"])) == vector["rule"])
    data = file["data"]
    frame = b"\2" + struct.pack(">I", data["circuit"]) + unhex(data["payload"])
    count("data frames", frame == unhex(data["frame"]))
    login = file["login"]
    part = lambda name: unhex(login[name])
    prologue = b"towpath relay v1" + login["host_as_dialled"].lower().encode()
    assert prologue == part("prologue") and public(part("client_static")) == part("client_peer")
    sides = [Noise("XX", "ChaChaPoly", True, prologue, part("client_static"), part("client_ephemeral")),
             Noise("XX", "ChaChaPoly", False, prologue, part("hub_static"), part("hub_ephemeral"))]
    for number, wire in enumerate(login["handshake_frames"]):
        message = sides[number % 2].write()
        assert b"\0" + message == unhex(wire) and sides[1 - number % 2].read(message) == b""
    assert sides[0].h == part("handshake_hash")
    up, down = sides[0].split()
    for direction, cipher, name in (("to_hub", up, "login"), ("to_client", down, "welcome"),
                                    ("to_hub", up, "ping"), ("to_client", down, "pong")):
        frame = part(f"{name}_frame")
        said, fields = control(direction, cipher.open(b"", frame[1:]))
        count("logins", frame[0] == 1 and said == name)
        if name == "welcome":
            assert fields["token"] == login["token"] and fields["observed"] == login["observed"]
    for vector in file["broken_logins"]:
        messages = [unhex(message) for message in vector["messages"]]
        assert refuses(log_in, login, messages[:-1]) is None, vector["why"]
        count("logins refused", refuses(log_in, login, messages) is not None)


# The tracker, chapter 7: bodies are JSON, and ids are what they must be.


def check_tracker():
    for vector in load("tracker.json")["calls"]:
        count("calls", vector["body"] is None or isinstance(json.loads(vector["body"]), dict))
    file = load("tracker_server.json")
    for name, peer in file["peers"].items():
        key = public(unhex(peer["secret_key"])).hex()
        assert peer["peer_id"] == f"{key}.{peer['instance']:016x}", name
    for step in file["steps"]:
        count("calls", step["call"].split(" ")[0] in ("GET", "POST", "PUT", "DELETE"))
        if step["status"] == 200 and "file_id" in (step.get("json") or {}):
            body = json.loads(step["body"])
            assert body["file"]["hash"] == step["json"]["file_id"]
            if body.get("public"):
                told = body["file"]
                kind = ["file", "manifest"].index(told["kind"])
                id = sha(b"towpath id v1", bytes([kind]), told["size"].to_bytes(8, "big"),
                         unhex(told["merkle_root"]))
                assert id.hex() == told["hash"]


for check in (check_noise, check_preambles, check_frames, check_records, check_proofs, check_merkle, check_ids,
              check_links, check_names, check_manifests, check_relay, check_tracker):
    check()
print("all vectors hold: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
