#!/usr/bin/env python3
"""Computes the test vectors of Sotto's key schedule, independently of the Rust code.

Prints key_schedule.txt, the file beside it:

    python3 key_schedule.py | diff - key_schedule.txt

Standard library only. ML-KEM's shared secret is an input, as are the messages, which have the
lengths of real ones but are not: the key schedule takes them as bytes. HKDF is RFC 5869, HMAC is
RFC 2104, both with SHA-256.
"""
import hashlib
import hmac


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def hkdf_extract(salt, key_material):
    return mac(salt, key_material)


def hkdf_expand_32(pseudorandom_key, label):
    """One block of output: T(1) = HMAC(PRK, info || 0x01)."""
    return mac(pseudorandom_key, label, b"\x01")


def stream(name, length):
    """Bytes without meaning, from a name."""
    blocks = (sha256(name.encode(), bytes([n])) for n in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def case(number):
    def input_bytes(name, length):
        return stream(f"case {number} {name}", length)

    offerer = input_bytes("offerer's statement", 32)
    accepter = input_bytes("accepter's statement", 32)
    offer_random = input_bytes("offer's random", 32)
    accept_random = input_bytes("accept's random", 32)
    shared = input_bytes("ML-KEM shared secret", 32)
    base = input_bytes("index bases", 8)
    suites = [b"\x02\x01\x02", b"\x01\x02"][number % 2]
    offer = (offer_random + input_bytes("encapsulation key", 1184)
             + base[0:3] + b"\x00" + suites)
    accept = (accept_random + input_bytes("ciphertext", 1088)
              + base[4:7] + b"\x00" + suites[1:2])

    transcript = sha256(b"sotto transport v1", offerer, accepter, sha256(offer), sha256(accept))
    key = hkdf_extract(transcript, shared + offer_random + accept_random)

    yield "case", bytes([number])
    yield "offerer_statement", offerer
    yield "accepter_statement", accepter
    yield "offer", offer
    yield "accept", accept
    yield "shared", shared
    yield "offer_random", offer_random
    yield "accept_random", accept_random
    for suite in (1, 2):
        for direction in (0, 1):
            for lane in (0, 1, 255):
                label = b"key" + bytes([suite, direction, lane])
                yield f"key {suite} {direction} {lane}", hkdf_expand_32(key, label)
    for direction in (0, 1):
        confirmation_key = hkdf_expand_32(key, b"confirm" + bytes([direction]))
        yield f"confirmation {direction}", mac(confirmation_key, transcript)[:16]


for number in range(3):
    for name, value in case(number):
        print(name, value.hex())
