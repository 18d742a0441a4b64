//! Bodies that come in `aws-chunked` pieces, made fit for the protocol layer, which holds each piece whole in memory.
//!
//! Unsigned pieces are cut into small ones. Signed ones cannot be, so they have a bound. Where signatures are not checked
//! they are taken out before: with trailing checksums the pieces stay, so that those are checked as ever. Without, only what is in the pieces is
//! left: the protocol layer takes unsigned pieces only with something behind them. The length is checked either way.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body::{Body, Frame};

const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// A line longer than this is no piece's header and no trailer.
const LINE_BYTES_MAX: usize = 4096;
/// Signed pieces are at most this long. AWS says no bound; its clients send 64 KiB to 1 MiB.
pub(crate) const SIGNED_PIECE_BYTES_MAX: u64 = 16 << 20;
/// No piece begins like this, so whoever reads it refuses the body.
const REFUSED: &[u8] = b"!\r\n";

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The pieces without their signatures, and what trails them.
    Pieces,
    /// What is in the pieces.
    Content,
    /// All of it, while no piece is too long.
    Signed,
    /// All of it, in pieces as small as they arrive.
    Small,
}

/// What the protocol layer is to be given of a body; `None` if it does not come in pieces.
pub(crate) fn bounded(parts: &Parts) -> Option<Keep> {
    match parts.headers.get(CONTENT_SHA256)?.as_bytes() {
        b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Some(Keep::Small),
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            Some(Keep::Signed)
        }
        _ => None,
    }
}

/// Announces the body as it will be without signatures; `None` if it does not come in signed pieces.
pub(crate) fn announce(parts: &mut Parts) -> Option<Keep> {
    let (keep, announced) = match parts.headers.get(CONTENT_SHA256)?.as_bytes() {
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => (Keep::Content, "UNSIGNED-PAYLOAD"),
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => (Keep::Pieces, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        _ => return None,
    };
    parts.headers.insert(CONTENT_SHA256, HeaderValue::from_static(announced));
    if keep == Keep::Content
        && let Some(length) = parts.headers.remove("x-amz-decoded-content-length")
    {
        parts.headers.insert(CONTENT_LENGTH, length);
    }
    Some(keep)
}

#[derive(Clone, Copy)]
enum State {
    /// In the line that says how long the next piece is.
    Header,
    /// In a piece.
    Data { left: u64 },
    /// In the line end after a piece.
    DataEnd,
    /// Behind the last piece.
    Trailer,
    /// It is not in pieces: pieces are passed on for the reader to refuse, content ends here and is too short.
    Lost,
}

/// A body in pieces, as far as it is kept.
pub(crate) struct Pieces<B> {
    inner: B,
    keep: Keep,
    state: State,
    line: BytesMut,
}

impl<B> Pieces<B> {
    /// Over a body in pieces.
    pub(crate) fn new(inner: B, keep: Keep) -> Self {
        Self { inner, keep, state: State::Header, line: BytesMut::new() }
    }

    fn filter(&mut self, mut arrived: Bytes) -> Bytes {
        let mut out = BytesMut::with_capacity(arrived.len());
        while !arrived.is_empty() {
            match self.state {
                State::Lost => {
                    self.frame(&arrived, &mut out);
                    arrived.clear();
                }
                State::Data { left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(arrived.len());
                    if self.keep == Keep::Small {
                        out.extend_from_slice(format!("{taken:x}\r\n").as_bytes());
                    }
                    out.extend_from_slice(&arrived.split_to(taken));
                    if self.keep == Keep::Small {
                        out.extend_from_slice(b"\r\n");
                    }
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
                }
                State::Header | State::DataEnd | State::Trailer => self.take_line(&mut arrived, &mut out),
            }
        }
        out.freeze()
    }

    /// Passes on what is not content.
    fn frame(&self, bytes: &[u8], out: &mut BytesMut) {
        match self.keep {
            Keep::Pieces | Keep::Signed => out.extend_from_slice(bytes),
            Keep::Small if !matches!(self.state, State::Lost) => out.extend_from_slice(bytes),
            Keep::Small | Keep::Content => {}
        }
    }

    /// What comes is not kept.
    fn lose(&mut self, line: &[u8], out: &mut BytesMut) {
        match self.keep {
            Keep::Pieces => out.extend_from_slice(line),
            Keep::Content => {}
            Keep::Signed | Keep::Small => out.extend_from_slice(REFUSED),
        }
        self.state = State::Lost;
    }

    fn take_line(&mut self, arrived: &mut Bytes, out: &mut BytesMut) {
        let end = arrived.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(arrived.len(), |end| end + 1);
        self.line.extend_from_slice(&arrived[..taken]);
        arrived.advance(taken);
        if end.is_some() {
            let line = self.line.split();
            self.pass_line(&line, out);
        } else if self.line.len() > LINE_BYTES_MAX {
            let line = self.line.split();
            self.lose(&line, out);
        }
    }

    fn pass_line(&mut self, line: &[u8], out: &mut BytesMut) {
        match self.state {
            State::Trailer => {
                let signature = line.to_ascii_lowercase().starts_with(b"x-amz-trailer-signature:");
                if !(signature && self.keep == Keep::Pieces) {
                    self.frame(line, out);
                }
            }
            State::DataEnd => {
                if line != b"\r\n" {
                    return self.lose(line, out);
                }
                self.state = State::Header;
                // Small pieces have ended where they were cut.
                if self.keep != Keep::Small {
                    self.frame(line, out);
                }
            }
            State::Header => self.pass_header(line, out),
            State::Data { .. } | State::Lost => self.frame(line, out),
        }
    }

    fn pass_header(&mut self, line: &[u8], out: &mut BytesMut) {
        let text = String::from_utf8_lossy(line);
        let (size, signed) =
            text.trim_end().split_once(';').map_or((text.trim_end(), false), |(size, _)| (size, true));
        let Ok(bytes) = u64::from_str_radix(size, 16) else { return self.lose(line, out) };
        match self.keep {
            Keep::Signed if bytes > SIGNED_PIECE_BYTES_MAX => return self.lose(line, out),
            // Nobody would look at its signature.
            Keep::Small if signed => return self.lose(line, out),
            Keep::Signed => self.frame(line, out),
            Keep::Small if bytes > 0 => {}
            Keep::Small | Keep::Pieces | Keep::Content => {
                self.frame(size.as_bytes(), out);
                self.frame(b"\r\n", out);
            }
        }
        self.state = if bytes == 0 { State::Trailer } else { State::Data { left: bytes } };
    }
}

impl<B> Body for Pieces<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        loop {
            let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(None) if !self.line.is_empty() && self.keep != Keep::Content => {
                    // A line that was cut short is the reader's to refuse.
                    let rest = self.line.split().freeze();
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
                other => return other,
            };
            match frame.into_data() {
                Ok(data) => {
                    let kept = self.filter(data);
                    if !kept.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(kept))));
                    }
                }
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_go_and_the_rest_stays_however_it_is_cut() {
        let body =
            b"5;chunk-signature=aa\r\nhel\r\n\r\n3;chunk-signature=bb\r\n;ch\r\n0;chunk-signature=cc\r\n\
            x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:dd\r\n\r\n";
        let pieces = "5\r\nhel\r\n\r\n3\r\n;ch\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for (keep, wanted) in [(Keep::Pieces, pieces), (Keep::Content, "hel\r\n;ch")] {
            for step in 1..body.len() {
                let mut filter = Pieces::new((), keep);
                let got: Vec<u8> = body
                    .chunks(step)
                    .flat_map(|chunk| filter.filter(Bytes::copy_from_slice(chunk)))
                    .collect();
                assert_eq!(String::from_utf8_lossy(&got), wanted, "{keep:?} cut every {step} bytes");
            }
        }
    }

    #[test]
    fn unsigned_pieces_become_small_and_signed_ones_have_a_bound() {
        let large =
            format!("{:x}\r\n{}\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 5000, "x".repeat(5000));
        for step in [1, 7, 999, 6000] {
            let mut filter = Pieces::new((), Keep::Small);
            let cut: Vec<u8> = large
                .as_bytes()
                .chunks(step)
                .flat_map(|chunk| filter.filter(Bytes::copy_from_slice(chunk)))
                .collect();
            // Read again as content, it is the same.
            let content = Pieces::new((), Keep::Content).filter(Bytes::from(cut.clone()));
            assert_eq!(content, "x".repeat(5000), "cut every {step} bytes");
            assert!(cut.ends_with(b"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"));
            let longest = cut.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
            assert!(longest.is_some_and(|longest| longest <= step.max(64) + 1), "{longest:?}");
        }
        let mut signed = Pieces::new((), Keep::Signed);
        assert_eq!(signed.filter(Bytes::from_static(b"1000001;chunk-signature=aa\r\nxyz")), "!\r\nxyz");
        let fits = Bytes::from_static(b"1000000;chunk-signature=aa\r\nxyz");
        assert_eq!(Pieces::new((), Keep::Signed).filter(fits.clone()), fits);
        let mut odd = Pieces::new((), Keep::Small);
        assert_eq!(odd.filter(Bytes::from_static(b"5;chunk-signature=aa\r\nhello\r\n")), "!\r\n");
    }

    #[test]
    fn what_is_no_piece_is_left_to_the_reader_and_is_no_content() {
        for junk in [&b"zz;x\r\nrest"[..], &[b'1'; 5000], b"1\r\nabc\r\n"] {
            let mut pieces = Pieces::new((), Keep::Pieces);
            assert_eq!(pieces.filter(Bytes::copy_from_slice(junk)), junk);
            let mut content = Pieces::new((), Keep::Content);
            assert!(content.filter(Bytes::copy_from_slice(junk)).len() <= 1);
        }
    }
}
