//! Where a command finds its policy.

use std::fs;

use anyhow::{Context, bail};
use reaper_core::policy::{Policy, PolicyIdentity};
use session_reaper::sweep::source::PolicySource;

use crate::{
    account_regions::{Opened, Reach},
    aws::{Aws, budget},
    clock::now,
    file::{File, Invalid},
    stdio::warn,
};

/// Where the policy is.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PolicyAt {
    /// The policy's file; `-` for standard input
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// The policy's parameter in Parameter Store
    #[arg(long, value_name = "NAME")]
    policy_parameter: Option<String>,
}

/// A policy that has been read, with its source and identity.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) source: PolicySource,
    pub(crate) identity: PolicyIdentity,
}

impl PolicyAt {
    /// Opens the connection, and reads the policy. A file's errors are shown before AWS is asked.
    pub(crate) async fn open(&self, reach: &Reach) -> anyhow::Result<(Opened, Loaded)> {
        if let Some(path) = &self.policy {
            reach.check_stdin(path)?;
        }
        let file = match &self.policy {
            Some(path) => Some(Loaded::new(File::read(path)?, None)?),
            None => None,
        };
        let opened = reach.open().await?;
        let loaded = match file {
            Some(loaded) => loaded,
            None => self.parameter(opened.home()).await?,
        };
        warn(loaded.policy.warnings(now()));
        Ok((opened, loaded))
    }

    /// Reads the policy again, because it may have been edited. Standard input and pipes can be read
    /// only once, so the policy that was read from them stays.
    pub(crate) async fn again(&self, aws: &Aws, before: Loaded) -> anyhow::Result<Loaded> {
        let is_pipe = |path: &str| fs::metadata(path).is_ok_and(|it| !it.is_file());
        match &self.policy {
            Some(path) if path == "-" || is_pipe(path) => Ok(before),
            Some(path) => Loaded::new(File::read(path)?, None),
            None => self.parameter(aws).await,
        }
    }

    async fn parameter(&self, aws: &Aws) -> anyhow::Result<Loaded> {
        let Some(name) = &self.policy_parameter else {
            bail!(Invalid("a policy is needed".into()));
        };
        let read = aws.ssm.parameter(name, budget()).await;
        let read = read.with_context(|| format!("cannot read the parameter `{name}`"))?;
        let file = File { name: format!("parameter {name}"), text: read.value };
        Loaded::new(file, Some(read.version))
    }
}

impl Loaded {
    fn new(file: File, version: Option<i64>) -> anyhow::Result<Self> {
        let policy = file.policy()?;
        let File { name, text } = file;
        let identity = PolicyIdentity::new(&*name, version, &text);
        Ok(Self { policy, source: PolicySource::Inline { name, text }, identity })
    }
}
