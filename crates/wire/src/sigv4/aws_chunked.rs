//! Bodies that come in `aws-chunked` pieces: taken apart as they arrive, signatures checked on the way.
//!
//! A [`Decoder`] does no IO: it is fed what arrived and answers what was inside. Data is handed out before its
//! piece's signature could be read, so whoever stores it makes it visible only after [`Decoder::finish`].
//!
//! INVARIANT: `finish` succeeds only if every byte belonged to a whole piece, every signature held, and as many bytes
//! were inside as the request declared.

use super::chunk::{ChunkChain, ChunkMismatch};
use super::verify::PayloadCheck;
use crate::crypto::Sha256;

/// Bytes of a piece's header line or of a trailing header.
const LINE_BYTES_MAX: usize = 4096;
/// Trailing headers, the signature included.
const TRAILERS_MAX: usize = 16;
/// Bytes of data in one piece: as many as S3 takes in one request.
const PIECE_BYTES_MAX: u64 = 5 << 30;

/// Why a body is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkedError {
    /// A piece's header line that cannot be read.
    #[error("the chunk header `{line}` is malformed")]
    Header {
        /// As given.
        line: String,
    },
    /// A line that does not end.
    #[error("a line of the chunked body is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// Something else than a line end after a piece's data.
    #[error("a chunk's data is not followed by a line end")]
    NoLineEnd,
    /// A trailing header that cannot be read, stands twice, or is one too many.
    #[error("the trailing header `{line}` is malformed or not allowed")]
    Trailer {
        /// As given.
        line: String,
    },
    /// Something after the end.
    #[error("the chunked body goes on after its end")]
    AfterEnd,
    /// The end is missing.
    #[error("the chunked body ends too early")]
    Unfinished,
    /// More or less data than declared.
    #[error("the chunked body holds {found} bytes, not {declared}")]
    Length {
        /// What the request declared.
        declared: u64,
        /// What was inside, as far as it was read.
        found: u64,
    },
    /// A signature that does not hold.
    #[error(transparent)]
    Signature(#[from] ChunkMismatch),
}

/// Takes one body apart.
#[derive(Debug)]
pub struct Decoder {
    /// Present if the pieces are signed.
    chain: Option<ChunkChain>,
    trailer_allowed: bool,
    declared: u64,
    found: u64,
    state: State,
    /// A line that has begun.
    line: Vec<u8>,
    /// Of the piece being read.
    hash: Sha256,
    signature: String,
    trailers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Data { left: u64 },
    DataEnd,
    Trailer,
    End,
}

impl Decoder {
    /// A decoder for what the verified signature says about the body; `None` if the body does not come in pieces.
    /// `declared` is `x-amz-decoded-content-length`.
    pub fn new(check: &PayloadCheck, declared: u64) -> Option<Self> {
        let (chain, trailer_allowed) = match check {
            PayloadCheck::SignedChunks(chain) => (Some(chain.clone()), false),
            PayloadCheck::SignedChunksAndTrailer(chain) => (Some(chain.clone()), true),
            PayloadCheck::UnsignedChunksAndTrailer => (None, true),
            PayloadCheck::Done | PayloadCheck::Hash(_) | PayloadCheck::Unsigned => return None,
        };
        Some(Self {
            chain,
            trailer_allowed,
            declared,
            found: 0,
            state: State::Header,
            line: Vec::new(),
            hash: Sha256::default(),
            signature: String::new(),
            trailers: Vec::new(),
        })
    }

    /// Reads some of what arrived: answers how many bytes it took, and the data among them if there was any.
    /// Call it again with the rest until nothing is left.
    ///
    /// # Errors
    /// When the body is malformed, a signature does not hold, or there is more data than declared.
    pub fn decode<'a>(&mut self, arrived: &'a [u8]) -> Result<(usize, &'a [u8]), ChunkedError> {
        if let State::Data { left } = self.state {
            let taken = arrived.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let data = arrived.get(..taken).unwrap_or_default();
            return self.take_data(data, left).map(|()| (taken, data));
        }
        match self.take_line(arrived)? {
            (taken, Some(line)) => self.read_line(&line).map(|()| (taken, &[][..])),
            (taken, None) => Ok((taken, &[])),
        }
    }

    /// The trailing headers, once everything arrived: small letters, values without white space at their ends.
    ///
    /// # Errors
    /// When the body ended too early or held less data than declared.
    pub fn finish(self) -> Result<Vec<(String, String)>, ChunkedError> {
        if self.state != State::End {
            return Err(ChunkedError::Unfinished);
        }
        if self.found != self.declared {
            return Err(ChunkedError::Length { declared: self.declared, found: self.found });
        }
        Ok(self.trailers)
    }

    fn take_data(&mut self, data: &[u8], left: u64) -> Result<(), ChunkedError> {
        let taken = data.len() as u64;
        self.found += taken;
        if self.found > self.declared {
            return Err(ChunkedError::Length { declared: self.declared, found: self.found });
        }
        if self.chain.is_some() {
            self.hash.update(data);
        }
        self.state = if taken == left { State::DataEnd } else { State::Data { left: left - taken } };
        Ok(())
    }

    /// Collects up to the next CRLF; the line comes without it.
    fn take_line(&mut self, arrived: &[u8]) -> Result<(usize, Option<Vec<u8>>), ChunkedError> {
        for (at, &byte) in arrived.iter().enumerate() {
            if byte == b'\n' && self.line.last() == Some(&b'\r') {
                self.line.pop();
                return Ok((at + 1, Some(std::mem::take(&mut self.line))));
            }
            if self.line.len() >= LINE_BYTES_MAX {
                return Err(ChunkedError::LineTooLong);
            }
            self.line.push(byte);
        }
        Ok((arrived.len(), None))
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), ChunkedError> {
        match self.state {
            State::Header => self.read_header(line),
            State::DataEnd if line.is_empty() => {
                self.check_piece()?;
                self.state = State::Header;
                Ok(())
            }
            State::DataEnd => Err(ChunkedError::NoLineEnd),
            State::Trailer => self.read_trailer(line),
            State::End => Err(ChunkedError::AfterEnd),
            State::Data { .. } => unreachable!("data is not read by lines"),
        }
    }

    fn read_header(&mut self, line: &[u8]) -> Result<(), ChunkedError> {
        let text = String::from_utf8_lossy(line);
        let malformed = || ChunkedError::Header { line: text.clone().into_owned() };
        let (size, signature) = match (text.split_once(";chunk-signature="), self.chain.is_some()) {
            (Some((size, signature)), true) => (size, signature),
            (None, false) => (&*text, ""),
            (Some(_), false) | (None, true) => return Err(malformed()),
        };
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16).ok().filter(|size| digits && *size <= PIECE_BYTES_MAX);
        let size = size.ok_or_else(malformed)?;
        self.signature = signature.to_owned();
        if size > 0 {
            self.state = State::Data { left: size };
            return Ok(());
        }
        self.check_piece()?;
        self.state = State::Trailer;
        Ok(())
    }

    fn check_piece(&mut self) -> Result<(), ChunkedError> {
        let hash = std::mem::take(&mut self.hash).finish();
        if let Some(chain) = &mut self.chain {
            chain.verify(hash, &self.signature)?;
        }
        Ok(())
    }

    fn read_trailer(&mut self, line: &[u8]) -> Result<(), ChunkedError> {
        let text = String::from_utf8_lossy(line);
        let malformed = || ChunkedError::Trailer { line: text.clone().into_owned() };
        if text.trim().is_empty() {
            return self.read_trailer_end();
        }
        let (name, value) = text.split_once(':').ok_or_else(malformed)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        if name == "x-amz-trailer-signature" {
            return self.check_trailer(&value, malformed());
        }
        let again = self.trailers.iter().any(|(present, _)| *present == name);
        if !self.trailer_allowed || again || self.trailers.len() >= TRAILERS_MAX {
            return Err(malformed());
        }
        self.trailers.push((name, value));
        Ok(())
    }

    /// The signature is the last line that says something.
    fn check_trailer(&mut self, signature: &str, malformed: ChunkedError) -> Result<(), ChunkedError> {
        let (true, Some(mut chain)) = (self.trailer_allowed, self.chain.take()) else {
            return Err(malformed);
        };
        let headers: String = self.trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        chain.verify_trailer(headers.as_bytes(), signature)?;
        self.trailer_allowed = false;
        Ok(())
    }

    /// An empty line ends the body; AWS's documents also put one between the headers and their signature.
    fn read_trailer_end(&mut self) -> Result<(), ChunkedError> {
        let signature_awaited = self.trailer_allowed && self.chain.is_some();
        if !signature_awaited {
            self.state = State::End;
            return Ok(());
        }
        if self.trailers.is_empty() { Err(ChunkMismatch.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ChunkedError, Decoder};
    use crate::crypto::{digest_from_hex, sha256};
    use crate::sigv4::chunk::ChunkChain;
    use crate::sigv4::{CredentialScope, PayloadCheck, SecretAccessKey};
    use crate::timestamp::Timestamp;

    /// Feeds the body in steps of `step` bytes.
    fn decode(
        check: &PayloadCheck,
        declared: u64,
        body: &[u8],
        step: usize,
    ) -> Result<Decoded, ChunkedError> {
        let mut decoder = Decoder::new(check, declared).unwrap();
        let mut data = Vec::new();
        for mut arrived in body.chunks(step) {
            while !arrived.is_empty() {
                let (taken, inside) = decoder.decode(arrived)?;
                data.extend_from_slice(inside);
                arrived = &arrived[taken..];
            }
        }
        decoder.finish().map(|trailers| (data, trailers))
    }

    type Decoded = (Vec<u8>, Vec<(String, String)>);

    fn chain() -> ChunkChain {
        let scope =
            CredentialScope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
        let secret = SecretAccessKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let at = Timestamp::parse_basic("20130524T000000Z").unwrap();
        let seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
        ChunkChain::new(secret.signing_key(&scope), at, &scope, digest_from_hex(seed).unwrap())
    }

    /// A body as a client makes it: pieces, the empty one, trailing headers.
    fn encode(pieces: &[Vec<u8>], trailer: Option<&str>, chain: Option<ChunkChain>) -> Vec<u8> {
        let mut chain = chain;
        let mut body = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()).chain([&Vec::new()]) {
            let signature =
                chain.as_mut().map(|chain| format!(";chunk-signature={}", chain.sign(sha256(piece))));
            body.extend_from_slice(
                format!("{:x}{}\r\n", piece.len(), signature.unwrap_or_default()).as_bytes(),
            );
            if !piece.is_empty() {
                body.extend_from_slice(piece);
                body.extend_from_slice(b"\r\n");
            }
        }
        if let Some(trailer) = trailer {
            body.extend_from_slice(format!("{trailer}\r\n").as_bytes());
            if let Some(mut chain) = chain {
                let signature = chain.sign_trailer(format!("{trailer}\n").as_bytes());
                body.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
            }
        }
        body.extend_from_slice(b"\r\n");
        body
    }

    /// The example of S3's API reference with trailing headers.
    #[test]
    fn the_documented_trailer() {
        let body = [
            b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n".to_vec(),
            vec![b'a'; 65536],
            b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n".to_vec(),
            vec![b'a'; 1024],
            b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n".to_vec(),
            b"x-amz-checksum-crc32c:sOO8/Q==\n\r\n".to_vec(),
            b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
                .to_vec(),
        ]
        .concat();
        let check = PayloadCheck::SignedChunksAndTrailer(chain());
        let (data, trailers) = decode(&check, 66560, &body, 1000).unwrap();
        assert_eq!(data, vec![b'a'; 66560]);
        assert_eq!(trailers, [("x-amz-checksum-crc32c".to_owned(), "sOO8/Q==".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let unsigned = PayloadCheck::UnsignedChunksAndTrailer;
        let refused = |declared, body: &str| decode(&unsigned, declared, body.as_bytes(), 7).unwrap_err();
        assert_eq!(decode(&unsigned, 2, b"2\r\nab\r\n0\r\n\r\n", 3).unwrap().0, b"ab");
        assert_eq!(refused(3, "2\r\nab\r\n0\r\n\r\n"), ChunkedError::Length { declared: 3, found: 2 });
        assert_eq!(refused(1, "2\r\nab\r\n0\r\n\r\n"), ChunkedError::Length { declared: 1, found: 2 });
        assert_eq!(refused(2, "2\r\nabc\r\n0\r\n\r\n"), ChunkedError::NoLineEnd);
        assert_eq!(refused(2, "2\r\nab\r\n0\r\n"), ChunkedError::Unfinished);
        assert_eq!(refused(2, "2\r\nab\r\n"), ChunkedError::Unfinished);
        assert_eq!(refused(2, "2\r\nab\r\n0\r\n\r\nx\r\n"), ChunkedError::AfterEnd);
        assert_eq!(refused(2, "+2\r\nab\r\n0\r\n\r\n"), ChunkedError::Header { line: "+2".to_owned() });
        assert_eq!(
            refused(2, "2;chunk-signature=0\r\nab\r\n"),
            ChunkedError::Header { line: "2;chunk-signature=0".to_owned() }
        );
        assert_eq!(refused(0, "0\r\na:1\r\nA:2\r\n\r\n"), ChunkedError::Trailer { line: "A:2".to_owned() });
        assert_eq!(refused(0, &"0".repeat(5000)), ChunkedError::LineTooLong);
        assert_eq!(refused(0, "ffffffffffffffff\r\n"), ChunkedError::Header { line: "f".repeat(16) });
        let plain = PayloadCheck::SignedChunks(chain());
        let body = encode(&[], Some("a:1"), Some(chain()));
        assert_eq!(
            decode(&plain, 0, &body, 9).unwrap_err(),
            ChunkedError::Trailer { line: "a:1".to_owned() }
        );
        let trailing = PayloadCheck::SignedChunksAndTrailer(chain());
        let body = encode(&[], None, Some(chain()));
        assert!(decode(&trailing, 0, &body, 9).is_err());
    }

    proptest! {
        #[test]
        fn bodies_come_through_and_changes_are_noticed(
            pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..4),
            signed: bool,
            with_trailer: bool,
            step in 1_usize..50,
            at: usize,
        ) {
            let data = pieces.concat();
            let check = match (signed, with_trailer) {
                (true, true) => PayloadCheck::SignedChunksAndTrailer(chain()),
                (true, false) => PayloadCheck::SignedChunks(chain()),
                (false, _) => PayloadCheck::UnsignedChunksAndTrailer,
            };
            let trailer = with_trailer.then_some("x-amz-checksum-crc32:AAAAAA==");
            let mut body = encode(&pieces, trailer, signed.then(chain));
            let declared = data.len() as u64;
            let (decoded, trailers) = decode(&check, declared, &body, step).unwrap();
            prop_assert_eq!(&decoded, &data);
            prop_assert_eq!(trailers.len(), usize::from(with_trailer));
            let place = at / 8 % body.len();
            body[place] ^= 1 << (at % 8);
            match decode(&check, declared, &body, step) {
                // Letters of names and sizes can be small or capital, and white space around a value does not count.
                Ok(changed) if signed => prop_assert_eq!(changed, (data, trailers)),
                Ok(_) | Err(_) => {}
            }
        }
    }
}
