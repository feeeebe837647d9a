//! Serves an HTTP service on a socket, such as an emulator or an organization.

use std::{
    convert::Infallible,
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};

use crate::{
    body::sent,
    emulator::{Emulator, Reset},
};

/// Serves a service on a listener, until the returned future is dropped.
///
/// If the service fails, the connection is reset without an answer.
pub async fn serve<S>(listener: TcpListener, service: S) -> Infallible
where
    S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + 'static,
    S::Error: Error + Send + Sync + 'static,
    S::Future: Send,
{
    loop {
        let Ok((stream, _peer)) = listener.accept().await else {
            tokio::task::yield_now().await; // The peer has closed the connection.
            continue;
        };
        let _ = stream.set_nodelay(true); // Affects only the speed.
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let service = service.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                    let response = service.oneshot(Request::from_parts(parts, body)).await;
                    response.map(sent).map_err(io::Error::other)
                }
            });
            let mut served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            let Err(err) = Pin::new(&mut served).await else { return };
            let of_service = err.source().and_then(|it| it.downcast_ref::<io::Error>()?.get_ref());
            if of_service.is_some_and(<dyn Error + Send + Sync>::is::<S::Error>) {
                // Closing with a linger time of zero resets the connection.
                let _ = served.into_parts().io.inner().set_zero_linger();
            }
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
