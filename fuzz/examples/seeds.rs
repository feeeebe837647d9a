//! Writes what the tests play with, as seeds: hostile policies to one folder, hostile texts to another.

#[path = "../../tests/it/hostile/inputs.rs"]
mod inputs;
#[path = "../../tests/it/hostile/texts.rs"]
mod texts;

use std::{env, fs, path::PathBuf};

fn main() {
    let mut folders = env::args().skip(1).map(PathBuf::from);
    let mut write = |seeds: Vec<String>| {
        let folder = folders.next().expect("two folders");
        fs::create_dir_all(&folder).expect("a folder");
        for (i, text) in seeds.into_iter().enumerate() {
            fs::write(folder.join(format!("{i:03}")), text).expect("a file");
        }
    };
    write(inputs::inputs().into_iter().map(|(_name, text)| text).collect());
    write(texts::texts());
}
