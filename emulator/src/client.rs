//! A service as an HTTP client for the SDK: without a socket, and usable in virtual time.

use std::{error::Error, fmt};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{Request, Response};
use tower::{Service, ServiceExt};

use crate::body::{is_cut_off, sent};

/// An HTTP client for the SDK whose requests this service answers.
pub(crate) fn http_client<S>(service: S) -> SharedHttpClient
where
    S: Service<Request<Bytes>, Response = Response<Bytes>>
        + Clone
        + fmt::Debug
        + Send
        + Sync
        + 'static,
    S::Error: Error + Send + Sync + 'static,
    S::Future: Send,
{
    SharedHttpClient::new(InProcess(service))
}

/// Answers in the same process.
#[derive(Clone, Debug)]
struct InProcess<S>(S);

impl<S> InProcess<S>
where
    S: Service<Request<Bytes>, Response = Response<Bytes>>,
    S::Error: Error + Send + Sync + 'static,
{
    async fn call(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let unusable = |err: &str| ConnectorError::user(err.to_owned().into());
        let request = request.try_into_http1x().map_err(|err| unusable(&err.to_string()))?;
        let (parts, body) = request.into_parts();
        let body = body.bytes().ok_or_else(|| unusable("a streaming body"))?;
        let request = Request::from_parts(parts, Bytes::copy_from_slice(body));
        let response = self.0.oneshot(request).await;
        let response = response.map_err(|err| ConnectorError::io(err.into()))?;
        let response = if is_cut_off(&response) {
            sent(response).map(SdkBody::from_body_1_x)
        } else {
            response.map(SdkBody::from)
        };
        HttpResponse::try_from(response).map_err(|err| unusable(&err.to_string()))
    }
}

impl<S> HttpClient for InProcess<S>
where
    Self: HttpConnector + Clone + 'static,
    S: Send + Sync + fmt::Debug,
{
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl<S> HttpConnector for InProcess<S>
where
    S: Service<Request<Bytes>, Response = Response<Bytes>>
        + Clone
        + fmt::Debug
        + Send
        + Sync
        + 'static,
    S::Error: Error + Send + Sync + 'static,
    S::Future: Send,
{
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().call(request))
    }
}
