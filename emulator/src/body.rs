//! The body of an answer as it is sent: complete, or cut off in the middle.

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, header::CONTENT_LENGTH};
use hyper::body::{Body, Frame, SizeHint};

/// A body that sends these bytes, and then an error if it is cut off.
#[derive(Debug)]
pub(crate) struct Sent {
    rest: Option<Bytes>,
    is_cut_off: bool,
    has_waited: bool,
}

/// Whether the body is shorter than its `Content-Length`.
pub(crate) fn is_cut_off(response: &Response<Bytes>) -> bool {
    let said = response.headers().get(CONTENT_LENGTH);
    let said: Option<usize> = said.and_then(|it| it.to_str().ok()?.parse().ok());
    said.is_some_and(|it| response.body().len() < it)
}

pub(crate) fn sent(response: Response<Bytes>) -> Response<Sent> {
    let is_cut_off = is_cut_off(&response);
    response.map(|body| Sent { rest: Some(body), is_cut_off, has_waited: false })
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        if !self.is_cut_off {
            return Poll::Ready(None);
        }
        if !mem::replace(&mut self.has_waited, true) {
            cx.waker().wake_by_ref(); // So that the bytes are sent before the connection is closed.
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())))
    }

    fn is_end_stream(&self) -> bool {
        !self.is_cut_off && self.rest.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.rest.as_ref().map_or(0, Bytes::len) as u64;
        if self.is_cut_off { SizeHint::default() } else { SizeHint::with_exact(length) }
    }
}
