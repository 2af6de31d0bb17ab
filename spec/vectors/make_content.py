#!/usr/bin/python3
"""Makes ids.json, links.json, manifest.json and ranges.json beside this script, from the text of the spec alone.

    /usr/bin/python3 make_content.py
"""

import base64
import hashlib
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
CHUNK = 256 * 1024


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def write(name, about, **content):
    with open(os.path.join(HERE, name), "w", encoding="ascii") as file:
        json.dump({"about": about, "made_by": "make_content.py", **content}, file, indent=1)
        file.write("\n")


def ids():
    vectors = []
    for kind, length, root, secret in [
        (0, 0, bytes(32), None),
        (0, 0, bytes(32), bytes(range(32))),
        (0, 1, sha(b"\x00"), None),
        (0, 1, sha(b"\x00"), sha(b"a secret")),
        (1, 1, sha(b"\x00"), sha(b"a secret")),
        (0, 0x0102030405, sha(b"some root"), sha(b"another secret")),
        (1, 2**31, bytes([255] * 32), bytes(32)),
    ]:
        id = sha(b"towpath id v1", bytes([kind]), length.to_bytes(8, "big"), root)
        vector = {"kind": kind, "length_bytes": length, "root": root.hex(), "id": id.hex()}
        if secret is None:
            vector["locator"] = id.hex()
        else:
            vector["secret"] = secret.hex()
            vector["locator"] = sha(b"towpath locator v1", secret, id).hex()
        vectors.append(vector)
    digits = sha(b"digits").hex()
    refused = ["", digits[:-1], digits + "0", digits.upper(), digits[:-1] + "g", " " + digits[1:],
               digits[:-1] + "\n", "0x" + digits[2:], digits[:-1] + "\u0660"]
    write("ids.json", "Ids and locators; without a secret the share is public; texts that are no ids",
          vectors=vectors, refused=refused, refused_kinds=[2, 3, 128, 255])


LEAF = 16 * 1024
MULTIPLIER = 0x9E3779B97F4A7C15


def tree(data):
    """All levels of the tree over these bytes, leaves first, filled up with hashes of zeros."""
    leaves = [sha(data[i:i + LEAF]) for i in range(0, len(data), LEAF)]
    width = 1
    while width < len(leaves):
        width *= 2
    levels = [leaves + [bytes(32)] * (width - len(leaves))]
    while len(levels[-1]) > 1:
        last = levels[-1]
        levels.append([sha(last[i], last[i + 1]) for i in range(0, len(last), 2)])
    return levels


def ranges():
    """Proofs of aligned runs of leaves of every level, and what must be refused."""
    longest = 5 * CHUNK + 3 * LEAF + 77
    content = bytes((i * MULTIPLIER >> 56) & 0xFF for i in range(longest))
    vectors, refused = [], []
    for length in [1, LEAF + 1, 3 * LEAF, CHUNK - 1, CHUNK + 1, longest]:
        levels = tree(content[:length])
        top = min(4, len(levels) - 1)
        for level in range(top + 1):
            size = LEAF << level
            count = -(-length // size)
            for index in sorted({0, count // 2, count - 1}):
                proof = [levels[up][(index >> (up - level)) ^ 1] for up in range(level, len(levels) - 1)]
                start = index * size
                vectors.append({
                    "length_bytes": length, "root": levels[-1][0].hex(), "level": level, "index": index,
                    "start": start, "end": min(start + size, length),
                    "hash": levels[level][index].hex(), "proof": [h.hex() for h in proof]})
    last = vectors[-1]
    low = next(v for v in vectors if v["length_bytes"] == longest and v["level"] == 0 and v["index"] > 0)

    def broken(why, base, **change):
        refused.append({"why": why, **{k: v for k, v in base.items() if k != "hash"}, **change})

    broken("one hash too few", last, proof=last["proof"][:-1])
    broken("one hash too many", last, proof=last["proof"] + ["00" * 32])
    broken("no hashes", low, proof=[])
    broken("the hashes the other way round", last, proof=last["proof"][::-1])
    broken("one bit of a hash", low, proof=["%02x" % (int(low["proof"][0][:2], 16) ^ 1) + low["proof"][0][2:]]
           + low["proof"][1:])
    broken("another root", last, root="11" * 32)
    broken("another index", low, index=low["index"] ^ 1)
    broken("the next data", low, start=low["start"] + LEAF, end=low["end"] + LEAF)
    broken("data that is too short", low, end=low["end"] - 1)
    broken("data that is too long", low, end=low["end"] + 1)
    broken("no data", low, end=low["start"])
    broken("a level above the chunk", last, level=5, index=0, start=0, end=5 * CHUNK)
    broken("an index behind the end", low, index=longest // LEAF + 1)
    broken("another length of the file", last, length_bytes=longest + 1)
    broken("a file that is too long", low, length_bytes=2**48 + 1)
    broken("a chunk of the empty file", vectors[0], length_bytes=0, root="00" * 32, end=0)
    write("ranges.json",
          "Aligned runs of leaves with their proofs, and what must be refused; data are the bytes from start to "
          "end of the content of merkle.json", vectors=vectors, refused=refused)


def links():
    locator = sha(b"a locator").hex()
    secret = sha(b"a secret")
    text = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    both = f"{locator}#{text}"
    good = [
        (f"https://tow.example/f/{both}", "https://tow.example", True),
        (f"https://tow.example/f/{locator}", "https://tow.example", False),
        (f"http://192.0.2.7:7000/f/{both}", "http://192.0.2.7:7000", True),
        (f"http://[2001:db8::1]:7000/f/{both}", "http://[2001:db8::1]:7000", True),
        (f"  https://tow.example/f/{both}\r\n", "https://tow.example", True),
        (f"HTTPS://Tow.Example:443/f/{both}", "https://tow.example:443", True),
        (f"http://a_b-c.local/f/{both}", "http://a_b-c.local", True),
    ]
    vectors = [
        {"text": t, "tracker": tracker, "locator": locator,
         "secret": secret.hex() if private else None}
        for t, tracker, private in good
    ]
    nobody = "https://tow.example"
    bad = {
        "not_a_url": [
            "", " ", locator, f"tow.example/f/{both}", f"ftp://tow.example/f/{both}",
            f"https:///f/{both}", f"https://:80/f/{both}", f"https://user@tow.example/f/{both}",
            f"https://tow.example:/f/{both}", f"https://tow.example:0/f/{both}",
            f"https://tow.example:65536/f/{both}", f"https://tow.example:+1/f/{both}",
            f"https://[::1/f/{both}", f"https://[tow]/f/{both}", f"https://[::1]x/f/{both}",
            f"https://::1/f/{both}", f"https://t\u00f6w.example/f/{both}",
            f"https://tow example/f/{both}", f"https://{'a' * 254}/f/{both}",
        ],
        "cut": [
            nobody, f"{nobody}/", f"{nobody}/f", f"{nobody}/f/", f"{nobody}/f/{locator[:63]}",
            f"{nobody}/f/{both[:-1]}", f"{nobody}/f/{locator}#",
        ],
        "bad_locator": [
            f"{nobody}/g/{both}", f"{nobody}/f/{locator}0#{text}", f"{nobody}/f/{locator[1:]}#{text}",
            f"{nobody}/f/{locator.upper()}#{text}", f"{nobody}/f/{locator[:-1]}g#{text}",
            f"{nobody}/f/{locator}/#{text}", f"{nobody}/f/{locator}?a#{text}", f"{nobody}#{text}",
            f"{nobody}/x/f/{both}", f"{nobody}/f/{locator} #{text}",
        ],
        "bad_secret": [
            f"{nobody}/f/{both}A", f"{nobody}/f/{both}=", f"{nobody}/f/{locator}#{text[:-1]}+",
            f"{nobody}/f/{locator}#{text[:20]} {text[20:]}", f"{nobody}/f/{both}#",
            # The last character carries two bits that must be zero.
            f"{nobody}/f/{locator}#{text[:-1]}{chr(ord(text[-1]) + 1)}",
            f"{nobody}/f/{locator}#{text[:-1]}\u00e9",
        ],
    }
    refused = [{"text": t, "error": rule} for rule, texts in bad.items() for t in texts]
    write("links.json", "Texts that are links, and texts that are none", vectors=vectors,
          refused=refused)


KINDS = {"folder": 0, "file": 1, "link": 2}
HEADER = b"towpath manifest\x01"


def entry_bytes(entry):
    path = bytes.fromhex(entry["path"])
    out = bytes([KINDS[entry["kind"]]]) + entry["mode"].to_bytes(2, "big")
    out += entry["seconds"].to_bytes(8, "big", signed=True) + entry["nanoseconds"].to_bytes(4, "big")
    out += len(path).to_bytes(2, "big") + path
    if entry["kind"] == "file":
        out += entry["length_bytes"].to_bytes(8, "big") + bytes.fromhex(entry["root"])
    if entry["kind"] == "link":
        target = bytes.fromhex(entry["target"])
        out += len(target).to_bytes(2, "big") + target
    return out


def entry(kind, path, mode=0o755, seconds=1700000000, nanoseconds=0, **more):
    return {"kind": kind, "path": path.hex(), "mode": mode, "seconds": seconds,
            "nanoseconds": nanoseconds, **more}


def folder(path, **more):
    return entry("folder", path, **more)


def file(path, length, **more):
    root = sha(path).hex() if length else bytes(32).hex()
    return entry("file", path, length_bytes=length, root=root, **more)


def link(path, target, **more):
    return entry("link", path, **{"mode": 0o777, **more}, target=target.hex())


def manifest():
    trees = [
        [],
        [folder(b"")],
        [file(b"one", 1)],
        [folder(b"", mode=0o700, seconds=-1, nanoseconds=999999999), file(b"empty", 0),
         folder(b"lib", mode=0), link(b"lib/libx.so", b"libx.so.1"),
         link(b"lib/libx.so.1", b"libx.so.1.2"), file(b"lib/libx.so.1.2", 3 * CHUNK + 1),
         file(b"lib.rs", CHUNK, mode=0o644), link(b"self", b"."), link(b"top", b"lib/libx.so")],
        [folder(b"a"), folder(b"a/b"), file(b"a/b/c", CHUNK + 1), link(b"a/b/d", b"../../e"),
         link(b"a/b/f", b".././b//c"), file(b"a/b-c", 5), file(b"e", 2**40),
         file(b"\xff\xfe not UTF-8 \n", 7)],
        [folder(b"d" * 255), file(b"d" * 255 + b"/" + b"\xf0\x9f\x98\x80" * 63, 9)],
    ]
    vectors = []
    for tree in trees:
        data, first, chunks, total = HEADER, [], 0, 0
        for item in tree:
            first.append({"offset": len(data), "first_chunk": chunks})
            data += entry_bytes(item)
            total += item.get("length_bytes", 0)
            chunks += -(-item.get("length_bytes", 0) // CHUNK)
        entries = [{**item, **where} for item, where in zip(tree, first)]
        vectors.append({"bytes": data.hex(), "entries": entries, "chunks": chunks,
                        "content_bytes": total})

    a, f = folder(b"a"), file
    bad = {
        "bad_mode": [[folder(b"a", mode=0o1777)], [folder(b"a", mode=65535)]],
        "bad_nanoseconds": [[folder(b"a", nanoseconds=10**9)]],
        "path_empty": [[f(b"", 1)], [link(b"", b"a")]],
        "path_absolute": [[f(b"/etc/passwd", 1)], [f(b"/", 1)]],
        "path_empty_component": [[a, f(b"a//b", 1)], [a, f(b"a/", 1)]],
        "path_dot_component": [[f(b"..", 1)], [f(b".", 1)], [a, f(b"a/../b", 1)], [a, f(b"a/.", 1)]],
        "path_nul": [[f(b"a\0b", 1)]],
        "name_too_long": [[f(b"n" * 300, 1)], [f(b"n" * 256, 1)]],
        "path_too_long": [[f(b"n" * 3073, 1)]],
        "path_too_deep": [[folder(b"/".join([b"d"] * n)) for n in range(1, 130)]],
        "duplicate": [[a, a], [f(b"a", 1), link(b"a", b"b")]],
        "wrong_order": [[f(b"b", 1), f(b"a", 1)], [a, f(b"a-b", 1), f(b"a/b", 1)],
                        [a, f(b"a/b", 1), folder(b"a")], [f(b"a", 1), folder(b"")]],
        "parent_missing": [[f(b"a/b", 1)], [a, f(b"a/b/c", 1)], [a, f(b"ab/c", 1)]],
        "parent_not_folder": [[f(b"a", 1), f(b"a/b", 1)], [link(b"a", b"."), f(b"a/b", 1)]],
        "file_too_long": [[f(b"a", 2**48 + 1)], [f(b"a", 2**64 - 1)]],
        "root_of_empty_file": [[{**f(b"a", 0), "root": "01" * 32}]],
        "too_many_chunks": [[f(b"a", 2**44), f(b"b", 1)], [f(b"a", 2**48)]],
        "link_empty": [[link(b"a", b"")]],
        "link_absolute": [[link(b"a", b"/etc/passwd")], [link(b"a", b"/")]],
        "link_nul": [[link(b"a", b"b\0c")]],
        "link_too_long": [[link(b"a", b"b" * 3073)]],
        "link_leaves_share": [[link(b"a", b"..")], [a, link(b"a/b", b"../../c")],
                              [a, link(b"a/b", b"./.././../c")]],
        "link_dot_dot_after_name": [[link(b"a", b"b/..")], [a, link(b"a/b", b"../c/../d")]],
    }
    refused = []
    for rule, lists in bad.items():
        for tree in lists:
            data = HEADER + b"".join(map(entry_bytes, tree))
            refused.append({"error": rule, "bytes": data.hex()})
    for rule, data in [
        ("not_a_manifest", b"Towpath manifest\x01"),
        ("unknown_manifest_version", b"towpath manifest\x02"),
        ("unknown_entry_kind", HEADER + b"\x03" + bytes(16)),
        ("truncated", b""), ("truncated", HEADER[:-1]), ("truncated", HEADER + b"\x00"),
        ("truncated", HEADER + entry_bytes(f(b"a", 1))[:-1]),
    ]:
        refused.append({"error": rule, "bytes": data.hex()})

    resolved = [
        ("a", "b", "b"), ("a/b/c", "../d", "a/d"), ("a/b/c", "../..", ""), ("a", ".", ""),
        ("a/b/c", "./x//y/", "a/b/x/y"), ("a", "..", None), ("a", "/b", None), ("a", "", None),
        ("a/b", "c/../d", None), ("a/b", "../../c", None),
    ]
    far = [link(b"l%02d" % n, b"l%02d/x" % (n + 1)) for n in range(50)]
    trees = {
        None: [
            [file(b"a", 1), link(b"b", b"a")],
            [folder(b"a"), link(b"a/up", b".."), file(b"c", 1), link(b"d", b"a/up/c")],
            [link(b"a", b"b"), link(b"b", b"a")],  # each names an entry
            [link(b"a", b"."), link(b"b", b"a/a/a/a")],
            [folder(b"d"), link(b"l", b"d"), file(b"d/f", 1), link(b"m", b"l/f")],
        ],
        "link_target_missing": [
            [link(b"a", b"b")],
            [file(b"a", 1), link(b"b", b"a/c")],
            [folder(b"d"), link(b"l", b"d/f")],
            [folder(b"d"), link(b"l", b"d"), link(b"m", b"l/f")],
            [link(b"a", b"b/x"), link(b"b", b"a/x")],
            far + [folder(b"l50")],
        ],
    }
    for tree in (tree for trees in trees.values() for tree in trees):
        tree.sort(key=lambda item: bytes.fromhex(item["path"]).replace(b"/", b"\0"))
    targets = [{"error": rule, "bytes": (HEADER + b"".join(map(entry_bytes, tree))).hex()}
               for rule, lists in trees.items() for tree in lists]
    write("manifest.json",
          "Manifests and their entries (paths and targets in hex), manifests that are refused with "
          "the rule they break, what targets of links name, and manifests whose links lead to an entry or not",
          vectors=vectors, refused=refused,
          resolved=[{"link": l, "target": t, "names": n} for l, t, n in resolved], targets=targets)


ids()
links()
manifest()
ranges()
