//! Takes the signatures out of a body that comes in signed `aws-chunked` pieces, where signatures are not checked.
//!
//! With trailing checksums the pieces stay, so that those are checked as ever. Without, only what is in the pieces is
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

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The pieces without their signatures, and what trails them.
    Pieces,
    /// What is in the pieces.
    Content,
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

/// The body without the signatures of its pieces.
pub(crate) struct UnsignedPieces<B> {
    inner: B,
    keep: Keep,
    state: State,
    line: BytesMut,
}

impl<B> UnsignedPieces<B> {
    /// Over a body of signed pieces.
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
                    out.extend_from_slice(&arrived.split_to(taken));
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
            Keep::Pieces => out.extend_from_slice(bytes),
            Keep::Content => {}
        }
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
            self.frame(&line, out);
            self.state = State::Lost;
        }
    }

    fn pass_line(&mut self, line: &[u8], out: &mut BytesMut) {
        match self.state {
            State::Trailer => {
                if !line.to_ascii_lowercase().starts_with(b"x-amz-trailer-signature:") {
                    self.frame(line, out);
                }
            }
            State::DataEnd => {
                self.frame(line, out);
                self.state = if line == b"\r\n" { State::Header } else { State::Lost };
            }
            State::Header => self.pass_header(line, out),
            State::Data { .. } | State::Lost => self.frame(line, out),
        }
    }

    fn pass_header(&mut self, line: &[u8], out: &mut BytesMut) {
        let text = String::from_utf8_lossy(line);
        let size = text.trim_end().split(';').next().unwrap_or_default();
        match u64::from_str_radix(size, 16) {
            Ok(bytes) => {
                self.frame(size.as_bytes(), out);
                self.frame(b"\r\n", out);
                self.state = if bytes == 0 { State::Trailer } else { State::Data { left: bytes } };
            }
            Err(_) => {
                self.frame(line, out);
                self.state = State::Lost;
            }
        }
    }
}

impl<B> Body for UnsignedPieces<B>
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
                Poll::Ready(None) if !self.line.is_empty() && self.keep == Keep::Pieces => {
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
                let mut filter = UnsignedPieces::new((), keep);
                let got: Vec<u8> = body
                    .chunks(step)
                    .flat_map(|chunk| filter.filter(Bytes::copy_from_slice(chunk)))
                    .collect();
                assert_eq!(String::from_utf8_lossy(&got), wanted, "{keep:?} cut every {step} bytes");
            }
        }
    }

    #[test]
    fn what_is_no_piece_is_left_to_the_reader_and_is_no_content() {
        for junk in [&b"zz;x\r\nrest"[..], &[b'1'; 5000], b"1\r\nabc\r\n"] {
            let mut pieces = UnsignedPieces::new((), Keep::Pieces);
            assert_eq!(pieces.filter(Bytes::copy_from_slice(junk)), junk);
            let mut content = UnsignedPieces::new((), Keep::Content);
            assert!(content.filter(Bytes::copy_from_slice(junk)).len() <= 1);
        }
    }
}
