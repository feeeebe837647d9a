//! The HTTP client of the commands that reach AWS, also of their search for credentials.

use std::fs;

use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::SharedHttpClient, runtime_components::RuntimeComponents,
};
use session_reaper::aws::bounded;

use crate::debug;

/// A client that trusts the certificates of a file, if one is given, and no others; and that shows
/// each call, if it is to.
pub(crate) fn client(ca_bundle: Option<&str>, shows: bool) -> Result<SharedHttpClient, String> {
    let mut context = TlsContext::builder();
    if let Some(path) = ca_bundle {
        let pem = fs::read(path).map_err(|_| {
            format!("Could not find a suitable TLS CA certificate bundle, invalid path: {path}")
        })?;
        context = context.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let context = context.build();
    let context = context.map_err(|err| {
        format!("cannot use {}: {err}", ca_bundle.unwrap_or("the system's certificates"))
    })?;
    let client = bounded(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.clone())
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    }));
    Ok(if shows { debug::shown(client) } else { client })
}
