//! Evidence in a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use reaper_core::evidence::Folder;

use super::{Places, add, is_file, path};

/// Where the files of sweeps are.
pub(super) fn find(root: &Path) -> anyhow::Result<Places<PathBuf>> {
    let canonical = fs::canonicalize(root)
        .with_context(|| format!("cannot read the folder `{}`", root.display()))?;
    let mut places = Places::default();
    search(&canonical, &mut places)?;
    places.sweeps.sort();
    Ok(places)
}

/// Looks for folders of sweeps. Links are not followed.
fn search(folder: &Path, places: &mut Places<PathBuf>) -> anyhow::Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("run=") {
        places.sweeps.push(folder.into());
        return Ok(());
    }
    for (path, is_folder) in entries(folder)? {
        if is_folder {
            search(&path, places)?;
        } else {
            places.strays.push(path.display().to_string());
        }
    }
    Ok(())
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

/// The files of one sweep.
pub(super) fn read(place: &Path) -> anyhow::Result<Folder> {
    let parts: Vec<_> = place.iter().map(|it| it.to_string_lossy()).collect();
    let path = path(parts.iter().map(AsRef::as_ref));
    let mut folder = Folder { path, ..Folder::default() };
    for (file, is_folder) in entries(place)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_folder || !is_file(&name) {
            folder.others.push(name);
            continue;
        }
        let content =
            fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        add(&mut folder, &name, content);
    }
    Ok(folder)
}
