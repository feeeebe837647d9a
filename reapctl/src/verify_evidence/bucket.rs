//! Evidence in its bucket.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use reaper_core::evidence::Folder;
use session_reaper::aws::Bucket;

use super::{Places, add, is_file, path};
use crate::{
    aws::{Connection, budget},
    file::Invalid,
};

/// The most keys that are looked at: those of three years, every five minutes.
const MAX_KEYS: usize = 1_000_000;

/// A bucket with evidence.
pub(super) struct S3 {
    bucket: Bucket,
}

/// A sweep's folder, and the names in it.
pub(super) type Place = (String, Vec<String>);

impl S3 {
    /// Finds where the files of sweeps are, from `BUCKET/PREFIX`.
    pub(super) async fn open(
        connection: &Connection,
        at: &str,
    ) -> anyhow::Result<(Self, Places<Place>)> {
        let (name, prefix) = at.split_once('/').unwrap_or((at, ""));
        if name.is_empty() {
            bail!(Invalid("write `s3://BUCKET` or `s3://BUCKET/PREFIX`".into()));
        }
        let bucket = Box::pin(connection.open_bucket(name)).await?;
        let mut sweeps: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let (mut strays, mut token, mut n_keys) = (Vec::new(), None, 0);
        loop {
            let listed = bucket.list(prefix, token.as_deref(), budget()).await;
            let page = listed.with_context(|| format!("cannot list `s3://{at}`"))?;
            n_keys += page.keys.len();
            for key in page.keys {
                match split(&key) {
                    Some((folder, name)) => sweeps.entry(folder).or_default().push(name),
                    None => strays.push(format!("s3://{name}/{key}")),
                }
            }
            token = page.next;
            if token.is_none() {
                break;
            }
            if MAX_KEYS <= n_keys {
                bail!(Invalid(format!(
                    "`s3://{at}` has more than {MAX_KEYS} objects: write a longer prefix"
                )));
            }
        }
        Ok((Self { bucket }, Places { sweeps: sweeps.into_iter().collect(), strays }))
    }

    /// The files of one sweep.
    pub(super) async fn read(&self, (place, names): Place) -> anyhow::Result<Folder> {
        let mut folder = Folder { path: path(place.split('/')), ..Folder::default() };
        for name in names {
            if !is_file(&name) {
                folder.others.push(name);
                continue;
            }
            let key = format!("{place}/{name}");
            let failed = || format!("cannot read `s3://{}/{key}`", self.bucket.name());
            let object = self.bucket.get(&key, budget()).await.with_context(failed)?;
            let object = object.context("it is no longer there").with_context(failed)?;
            add(&mut folder, &name, object.bytes);
        }
        Ok(folder)
    }
}

/// The folder of the sweep that a key is of, and the rest of the key.
fn split(key: &str) -> Option<(String, String)> {
    let parts: Vec<_> = key.split('/').collect();
    let end = 1 + parts.iter().position(|it| it.starts_with("run="))?;
    let (folder, name) = parts.split_at_checked(end)?;
    (!name.is_empty()).then(|| (folder.join("/"), name.join("/")))
}
