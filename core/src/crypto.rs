//! AEADs, Noise handshakes, records, and the proof that opens a private share. To be written.
