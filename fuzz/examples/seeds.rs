//! Writes seeds: hostile policies to one folder, hostile texts to another.

use std::{env, fs, path::PathBuf};

use test_support::{hostile_policies::hostile_policies, hostile_texts::hostile_texts};

fn main() {
    let mut folders = env::args().skip(1).map(PathBuf::from);
    let mut write = |seeds: Vec<String>| {
        let folder = folders.next().expect("two folders");
        fs::create_dir_all(&folder).expect("a folder");
        for (i, text) in seeds.into_iter().enumerate() {
            fs::write(folder.join(format!("{i:03}")), text).expect("a file");
        }
    };
    write(hostile_policies().into_iter().map(|(_name, text)| text).collect());
    write(hostile_texts());
}
