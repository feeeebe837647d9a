//! Writes the hostile inputs of the tests to a folder, as seeds.

#[path = "../../tests/it/hostile/inputs.rs"]
mod inputs;

use std::{env, fs, path::PathBuf};

fn main() {
    let folder = PathBuf::from(env::args().nth(1).expect("a folder"));
    fs::create_dir_all(&folder).expect("a folder");
    for (i, (_name, text)) in inputs::inputs().into_iter().enumerate() {
        fs::write(folder.join(format!("{i:03}")), text).expect("a file");
    }
}
