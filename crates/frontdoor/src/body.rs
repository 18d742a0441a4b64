//! The bodies that pass through the door, and the trait of what answers whole HTTP requests.
//!
//! INVARIANT: a body that stops coming ends its request, and so does one that trickles: every [`RequestBody`] made by
//! the server fails when [`Limits::stall`](crate::server::Limits::stall) brings less than [`BODY_STEP_BYTES`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use postern_wire::AwsError;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::caller::Origin;

/// What can go wrong with a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a request.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;
/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Bytes, BodyError>;
/// What a service's future answers.
pub type Responding<'a> = Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send + 'a>>;

/// What answers whole HTTP requests: S3, instance metadata, the front door itself.
pub trait HttpService: Send + Sync {
    /// Answers one request. Its extensions hold the [`Origin`](crate::Origin) that the server put there, and nothing
    /// that a client could have.
    fn call<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a>;

    /// Answers a request that came in the clear where TLS is required. Nothing of it is served.
    fn refuse_plain<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a> {
        drop(request);
        Box::pin(std::future::ready(plain_refusal()))
    }

    /// Takes note of something from there that could not be read as a request, and was answered with this status.
    fn note_unreadable<'a>(
        &'a self,
        _origin: &'a Origin,
        _status: StatusCode,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}

/// What who speaks plain HTTP reads where TLS is required.
pub(crate) fn plain_refusal() -> Response<ResponseBody> {
    plain(StatusCode::BAD_REQUEST, "plain HTTP is not served at this address: use https://")
}

/// An answer to people rather than to AWS's clients.
pub(crate) fn plain(status: StatusCode, text: impl Into<String>) -> Response<ResponseBody> {
    let mut response = Response::new(full(text.into() + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// How much of a body has to come in the time in which it may stall: a client that is slower than any link holds its
/// connection for nothing.
pub const BODY_STEP_BYTES: usize = 1024;

/// A body that fails when next to nothing comes for a while.
pub struct Watched<B> {
    inner: B,
    limit: Duration,
    /// Bytes since the deadline was set.
    step: usize,
    deadline: Pin<Box<Sleep>>,
}

/// The sender of a body fell silent.
#[derive(Debug, thiserror::Error)]
#[error("next to nothing of the body came for {0:?}")]
pub struct Stalled(pub Duration);

impl<B> Watched<B> {
    /// `inner`, which may fall silent for so long.
    pub fn new(inner: B, limit: Duration) -> Self {
        Self { inner, limit, step: 0, deadline: Box::pin(sleep(limit)) }
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(frame) => {
                let came = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len));
                this.step = this.step.saturating_add(came.unwrap_or_default());
                if this.step >= BODY_STEP_BYTES {
                    this.step = 0;
                    this.deadline.as_mut().reset(Instant::now() + this.limit);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => match this.deadline.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Stalled(this.limit).into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It is longer than allowed. The rest was read and thrown away, as far as that was bearable.
    #[error("the body is longer than {limit} bytes")]
    TooLong {
        /// What is allowed.
        limit: usize,
    },
    /// It took longer than allowed.
    #[error("the body took longer than {0:?}")]
    Late(Duration),
    /// It did not come to its end.
    #[error("the body could not be read: {0}")]
    Broken(BodyError),
}

impl CollectError {
    /// What the sender is told.
    pub fn to_aws(&self) -> AwsError {
        match self {
            Self::TooLong { limit } => {
                let message = format!("The request body is longer than {limit} bytes.");
                AwsError::new("RequestEntityTooLarge", message).with_status(413)
            }
            Self::Late(_) | Self::Broken(_) => {
                let message = format!("The request did not come whole: {self}.");
                AwsError::new("RequestTimeout", message).with_status(408)
            }
        }
    }
}

/// How much of a body that is too long is still read, so that its sender gets to see the answer.
const DISCARD_BYTES_MAX: usize = 16 << 20;

/// Bodies up to this size are read without asking for room.
const SMALL_BYTES: u64 = 64 * 1024;
/// How many larger bodies may be in memory at a time.
const LARGE_BODIES_MAX: usize = 64;
/// How much memory they may take; a few of them have room however large they may be.
const LARGE_ROOM_BYTES: usize = 256 << 20;
const LARGE_BODIES_MIN: usize = 4;

/// Reads bodies whole, within bounds of memory and time.
pub struct Collector {
    large: Semaphore,
    limit_bytes: usize,
    limit_time: Duration,
}

impl Collector {
    /// Bodies of so many bytes, that come in this time.
    pub fn new(limit_bytes: usize, limit_time: Duration) -> Self {
        let large = (LARGE_ROOM_BYTES / limit_bytes.max(1)).clamp(LARGE_BODIES_MIN, LARGE_BODIES_MAX);
        Self { large: Semaphore::new(large), limit_bytes, limit_time }
    }

    /// Reads one. A large one waits for room, which counts as its time.
    ///
    /// # Errors
    /// Where it is too long, takes too long or does not come to its end.
    pub async fn collect(&self, body: RequestBody) -> Result<Vec<u8>, CollectError> {
        let small = body.size_hint().upper().is_some_and(|upper| upper <= SMALL_BYTES);
        let reading = async {
            // The semaphore is never closed.
            let _room = if small { None } else { self.large.acquire().await.ok() };
            read(body, self.limit_bytes).await
        };
        timeout(self.limit_time, reading).await.unwrap_or(Err(CollectError::Late(self.limit_time)))
    }
}

async fn read(mut body: RequestBody, limit: usize) -> Result<Vec<u8>, CollectError> {
    let mut bytes = Vec::new();
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(CollectError::Broken)?.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= limit {
            bytes.extend_from_slice(&data);
        } else if seen > limit.saturating_add(DISCARD_BYTES_MAX) {
            break;
        }
    }
    if seen > limit { Err(CollectError::TooLong { limit }) } else { Ok(bytes) }
}
