//! The emulator as an HTTP client for the SDK: without a socket, and usable in virtual time.

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

use crate::{
    Emulator,
    body::{is_cut_off, sent},
};

impl Emulator {
    /// An HTTP client for the SDK whose requests this emulator answers.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    async fn call_in_process(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let unusable = |err: &str| ConnectorError::user(err.to_owned().into());
        let request = request.try_into_http1x().map_err(|err| unusable(&err.to_string()))?;
        let (parts, body) = request.into_parts();
        let body = body.bytes().ok_or_else(|| unusable("a streaming body"))?;
        let request = http::Request::from_parts(parts, Bytes::copy_from_slice(body));
        let response = self.answer(request).await.map_err(|err| ConnectorError::io(err.into()))?;
        let response = if is_cut_off(&response) {
            sent(response).map(SdkBody::from_body_1_x)
        } else {
            response.map(SdkBody::from)
        };
        HttpResponse::try_from(response).map_err(|err| unusable(&err.to_string()))
    }
}

impl HttpClient for Emulator {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Emulator {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().call_in_process(request))
    }
}
