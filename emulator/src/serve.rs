//! Any HTTP service on a socket; the emulator is one.

use std::{
    convert::Infallible,
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};

use crate::{Emulator, Reset};

/// Serves a service on a listener, until the returned future is dropped.
///
/// Where the service fails, the connection is closed without an answer.
pub async fn serve<S>(listener: TcpListener, service: S) -> Infallible
where
    S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + 'static,
    S::Error: Error + Send + Sync + 'static,
    S::Future: Send,
{
    loop {
        let Ok((stream, _peer)) = listener.accept().await else {
            tokio::task::yield_now().await; // The peer has already gone.
            continue;
        };
        let _ = stream.set_nodelay(true); // Only the speed depends on it.
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let service = service.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                    let response = service.oneshot(Request::from_parts(parts, body)).await;
                    response.map(|it| it.map(Full::new)).map_err(io::Error::other)
                }
            });
            // A connection that ends in an error is what a reset looks like from here.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
        });
    }
}

impl Service<Request<Bytes>> for Emulator {
    type Error = Reset;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Reset>> + Send>>;
    type Response = Response<Bytes>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let emulator = self.clone();
        Box::pin(async move { emulator.answer(request).await })
    }

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        Poll::Ready(Ok(()))
    }
}
