//! `reapctl verify-evidence`: whether what sweeps recorded is as they wrote it.

mod bucket;
mod disk;

use std::process::ExitCode;

use anyhow::bail;
use futures_util::{StreamExt, stream};
use reaper_core::{
    evidence::{DECISIONS, Folder, MANIFEST, OUTCOMES, Status, Verified, ocsf, verify},
    printable::{printable, printable_json},
};
use serde_json::json;

use self::bucket::S3;
use crate::{
    aws::Connection,
    exit::{ALTERED, INCOMPLETE},
    file::Invalid,
    stdio::{eprintln, println, warn},
};

/// Verify the evidence of sweeps: hashes, counts, and that each session terminated has a decision and an outcome.
///
/// The evidence is read from its bucket, or from a copy on this machine. The exit status is 0 if all is verified,
/// 4 if something was altered, and 5 if nothing was but sweeps are incomplete.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl verify-evidence s3://BUCKET/evidence\n  reapctl verify-evidence s3://BUCKET/evidence/account=111122223333 --region eu-west-1 --output json\n  aws s3 sync s3://BUCKET/evidence evidence && reapctl verify-evidence evidence --output ocsf > logoffs.ndjson"
)]
pub(crate) struct Args {
    /// A folder with evidence, at any depth, or its bucket and what its keys begin with
    #[arg(value_name = "FOLDER|s3://BUCKET/PREFIX")]
    from: String,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    /// For machines
    Json,
    /// The sessions terminated, as OCSF events, one a line; what is wrong, on standard error
    Ocsf,
    /// For people
    #[value(alias = "table")]
    Text,
}

/// Where the files of sweeps are.
#[derive(Default)]
struct Places<T> {
    sweeps: Vec<T>,
    /// Files elsewhere.
    strays: Vec<String>,
}

/// Sweeps that are read at a time.
const CONCURRENCY: usize = 8;

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(at) = args.from.strip_prefix("s3://") {
        let (store, places) = S3::open(&args.connection, at).await?;
        return verify_all(args, &store, places, S3::read).await;
    }
    let places = disk::find(args.from.as_ref())?;
    verify_all(args, &(), places, |(), place| async move { disk::read(&place) }).await
}

/// Verifies all sweeps, in the order of their places.
async fn verify_all<'a, S, T, F>(
    args: &Args,
    store: &'a S,
    places: Places<T>,
    read: impl Fn(&'a S, T) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<Folder>>,
{
    warn(places.strays.iter().map(|it| format!("`{it}` is in no sweep's folder")));
    if places.sweeps.is_empty() {
        let name = &args.from;
        bail!(Invalid(format!(
            "there is no evidence in `{name}`: a sweep's folder is `account=…/region=…/day=…/run=…`"
        )));
    }
    let mut all = Vec::with_capacity(places.sweeps.len());
    let folders = stream::iter(places.sweeps).map(|it| read(store, it)).buffered(CONCURRENCY);
    let mut folders = std::pin::pin!(folders);
    while let Some(folder) = folders.next().await {
        let folder = folder?;
        let verified = verify(&folder);
        match args.output {
            Output::Json => {}
            Output::Ocsf => {
                show(&verified, |line| eprintln!("{line}"));
                for it in ocsf(&folder) {
                    println!("{}", printable_json(it.to_string()));
                }
            }
            Output::Text => show(&verified, |line| println!("{line}")),
        }
        all.push(verified);
    }
    let n = |status| all.iter().filter(|it| it.status == status).count();
    let [verified, incomplete, altered] =
        [Status::Verified, Status::Incomplete, Status::Altered].map(n);
    let terminated: usize = all.iter().map(|it| it.terminated).sum();
    match args.output {
        Output::Json => {
            let result = json!({
                "verified": verified, "incomplete": incomplete, "altered": altered,
                "terminated": terminated, "sweeps": all,
            });
            println!("{}", printable_json(format!("{result:#}")));
        }
        Output::Ocsf => {}
        Output::Text => {
            let s = if all.len() == 1 { "" } else { "s" };
            println!(
                "{} sweep{s}: {verified} verified, {incomplete} incomplete, {altered} altered; \
                 {terminated} sessions terminated",
                all.len()
            );
        }
    }
    Ok(match (altered, incomplete) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(INCOMPLETE),
        (_, _) => ExitCode::from(ALTERED),
    })
}

/// Shows what is not as it should be.
fn show(it: &Verified, print: impl Fn(&str)) {
    let status = match it.status {
        Status::Verified => return,
        Status::Incomplete => "incomplete",
        Status::Altered => "altered",
    };
    print(&format!("{status}: {}", printable(&it.path)));
    for it in &it.problems {
        print(&format!("  {}: {}", printable(&it.file), printable(&it.problem)));
    }
    if let Some(gap) = &it.gap {
        print(&format!("  {}", printable(gap)));
    }
}

/// Adds a file of a sweep.
fn add(folder: &mut Folder, name: &str, content: Vec<u8>) {
    match name {
        DECISIONS => folder.decisions = Some(content),
        OUTCOMES => folder.outcomes = Some(content),
        _ => folder.manifest = Some(content),
    }
}

/// Whether a sweep writes files of this name.
fn is_file(name: &str) -> bool {
    [DECISIONS, OUTCOMES, MANIFEST].contains(&name)
}

/// The account, Region, day and run of a sweep's folder, which are the last four parts of where it is.
fn path<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<_> = parts.collect();
    parts.get(parts.len().saturating_sub(4)..).unwrap_or_default().join("/")
}
