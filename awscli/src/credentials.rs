//! Credentials of a profile that an option names. Those of the environment are ignored.

use aws_config::{
    Region, ecs::EcsCredentialsProvider, imds::credentials::ImdsCredentialsProvider,
    meta::credentials::CredentialsProviderChain, profile::ProfileFileCredentialsProvider,
    provider_config::ProviderConfig,
};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// Every provider of credentials except the environment.
#[must_use]
pub fn of_profile(
    name: &str,
    files: &EnvConfigFiles,
    region: Option<Region>,
    client: SharedHttpClient,
) -> CredentialsProviderChain {
    let config = ProviderConfig::without_region().with_region(region).with_http_client(client);
    let profile = ProfileFileCredentialsProvider::builder()
        .configure(&config)
        .profile_files(files.clone())
        .profile_name(name);
    CredentialsProviderChain::first_try("Profile", profile.build())
        .or_else("EcsContainer", EcsCredentialsProvider::builder().configure(&config).build())
        .or_else(
            "Ec2InstanceMetadata",
            ImdsCredentialsProvider::builder().configure(&config).build(),
        )
}
