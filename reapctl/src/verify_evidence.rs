//! `reapctl verify-evidence`: whether what sweeps recorded is as they wrote it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use reaper_core::{
    evidence::{DECISIONS, Folder, MANIFEST, OUTCOMES, Status, Verified, ocsf, verify},
    printable::{printable, printable_json},
};
use serde_json::json;

use crate::{
    exit::{ALTERED, INCOMPLETE},
    file::Invalid,
    stdio::{eprintln, println, warn},
};

/// Verify the evidence of sweeps: hashes, counts, and that each session terminated has a decision and an outcome.
///
/// Copy the evidence to this machine first, as in the first example. The exit status is 0 if all is verified, 4
/// if something was altered, and 5 if nothing was but sweeps are incomplete.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  aws s3 sync s3://BUCKET/evidence evidence && reapctl verify-evidence evidence\n  reapctl verify-evidence evidence/account=111122223333 --output json\n  reapctl verify-evidence evidence --output ocsf > logoffs.ndjson"
)]
pub(crate) struct Args {
    /// A folder with evidence, at any depth
    folder: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
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

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = &args.folder;
    let root = fs::canonicalize(path)
        .with_context(|| format!("cannot read the folder `{}`", path.display()))?;
    let mut places = Places::default();
    places.find(&root)?;
    warn(places.strays.iter().map(|it| format!("`{}` is in no sweep's folder", it.display())));
    if places.sweeps.is_empty() {
        let name = path.display();
        bail!(Invalid(format!(
            "there is no evidence in `{name}`: a sweep's folder is `account=…/region=…/day=…/run=…`"
        )));
    }
    places.sweeps.sort();
    let mut all = Vec::with_capacity(places.sweeps.len());
    for place in &places.sweeps {
        let folder = read(place)?;
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

/// Where the files of sweeps are.
#[derive(Default)]
struct Places {
    sweeps: Vec<PathBuf>,
    /// Files elsewhere.
    strays: Vec<PathBuf>,
}

impl Places {
    /// Looks for folders of sweeps. Links are not followed.
    fn find(&mut self, folder: &Path) -> anyhow::Result<()> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("run=") {
            self.sweeps.push(folder.into());
            return Ok(());
        }
        for (path, is_folder) in entries(folder)? {
            if is_folder {
                self.find(&path)?;
            } else {
                self.strays.push(path);
            }
        }
        Ok(())
    }
}

/// What is in a folder, and whether it is one.
fn entries(folder: &Path) -> anyhow::Result<Vec<(PathBuf, bool)>> {
    let failed = || format!("cannot read the folder `{}`", folder.display());
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        all.push((entry.path(), entry.file_type().with_context(failed)?.is_dir()));
    }
    all.sort();
    Ok(all)
}

/// The files of one sweep. What it is said to be of are the last four parts of the path.
fn read(place: &Path) -> anyhow::Result<Folder> {
    let parts: Vec<_> = place.iter().map(|it| it.to_string_lossy()).collect();
    let path = parts.get(parts.len().saturating_sub(4)..).unwrap_or_default().join("/");
    let mut folder = Folder { path, ..Folder::default() };
    for (file, is_folder) in entries(place)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let content =
            || fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()));
        match name.as_str() {
            _ if is_folder => folder.others.push(name),
            DECISIONS => folder.decisions = Some(content()?),
            OUTCOMES => folder.outcomes = Some(content()?),
            MANIFEST => folder.manifest = Some(content()?),
            _ => folder.others.push(name),
        }
    }
    Ok(folder)
}
