//! CloudTrail's files: compressed or not, in any of the forms in which people have events.

use std::{
    fmt, fs,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use anyhow::Context;
use flate2::bufread::MultiGzDecoder;
use reaper_core::printable::{mend_halves, printable};
use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

use crate::{
    backtest::cloudtrail::texts::{Node, Texts},
    file::Invalid,
};

/// The most that a file may hold when it is no longer compressed, in bytes. CloudTrail's own have some
/// MiB.
const MAX_BYTES: u64 = 256 << 20;

/// What a compressed file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The files below these paths, in the order of their names. Links to folders are followed only if they
/// are given.
pub(super) fn files(paths: &[String]) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for path in paths {
        match path.as_str() {
            "-" => all.push(path.clone()),
            path if fs::metadata(path).is_ok_and(|it| it.is_dir()) => {
                find(path.as_ref(), &mut all)?;
            }
            path => all.push(path.into()),
        }
    }
    Ok(all)
}

fn find(folder: &Path, all: &mut Vec<String>) -> anyhow::Result<()> {
    let name = folder.display();
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.with_context(|| format!("cannot read the folder `{name}`"))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().with_context(|| format!("cannot read the folder `{name}`"))?;
        if kind.is_dir() {
            find(&entry.path(), all)?;
        } else if fs::metadata(entry.path()).is_ok_and(|it| it.is_file()) {
            all.push(entry.path().to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Hands over every record of a file, with its number from 1 on.
///
/// # Errors
/// If it cannot be read, is not JSON, or holds too much: the error names the file and the place.
pub(super) fn each_record(path: &str, mut take: impl FnMut(usize, Texts)) -> anyhow::Result<()> {
    let name = if path == "-" { "<standard input>".into() } else { printable(path) };
    let invalid = |why: &dyn fmt::Display| Invalid(format!("cannot use `{name}`: {why}"));
    let file: Box<dyn Read> = match path {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(fs::File::open(path).with_context(|| format!("cannot read `{name}`"))?),
    };
    let text = text(file, MAX_BYTES).with_context(|| format!("cannot read `{name}`"))?;
    let mut text = text.map_err(|why| invalid(&why))?;
    mend_halves(&mut text);
    let mut json = serde_json::Deserializer::from_slice(&text);
    let mut records = Records { n: 0, take: &mut take };
    let mut is_empty = true;
    while json.end().is_err() {
        Whole(&mut records).deserialize(&mut json).map_err(|err| invalid(&err))?;
        is_empty = false;
    }
    if is_empty {
        return Err(invalid(&"it is empty").into());
    }
    Ok(())
}

/// What is in a file, no longer compressed; or why that cannot be used.
fn text(file: impl Read, limit: u64) -> io::Result<Result<Vec<u8>, String>> {
    let mut file = BufReader::new(file);
    let is_compressed = file.fill_buf()?.starts_with(&GZIP);
    let mut text = Vec::new();
    if is_compressed {
        let content = MultiGzDecoder::new(file).take(limit + 1).read_to_end(&mut text);
        if let Err(err) = content {
            return Ok(Err(format!("it cannot be decompressed: {err}")));
        }
    } else {
        file.take(limit + 1).read_to_end(&mut text)?;
    }
    let is_within = text.len() as u64 <= limit;
    Ok(if is_within {
        Ok(text)
    } else {
        Err(format!("it holds more than {limit} bytes; split it"))
    })
}

/// Takes one record after the other.
struct Records<'a> {
    n: usize,
    take: &'a mut dyn FnMut(usize, Texts),
}

impl Records<'_> {
    fn take(&mut self, record: Texts) {
        self.n += 1;
        (self.take)(self.n, record);
    }
}

/// A value of a file: one with `Records` or `Events`, an array of records, or one record.
struct Whole<'a, 'r>(&'a mut Records<'r>);

impl<'de> DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloudTrail events: an object or an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, records: A) -> Result<(), A::Error> {
        List(self.0).visit_seq(records)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut record = Texts::default();
        let mut is_file = false;
        while let Some(name) = fields.next_key::<String>()? {
            if name == "Records" || name == "Events" {
                fields.next_value_seed(List(self.0))?;
                is_file = true;
            } else {
                fields.next_value_seed(Node { path: &name, texts: &mut record })?;
            }
        }
        if !is_file {
            self.0.take(record);
        }
        Ok(())
    }
}

/// An array of records, and nothing else.
struct List<'a, 'r>(&'a mut Records<'r>);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of CloudTrail events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        let mut record = Texts::default();
        while records.next_element_seed(Node { path: "", texts: &mut record })?.is_some() {
            self.0.take(std::mem::take(&mut record));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn compressed(content: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content).expect("memory");
        gzip.finish().expect("memory")
    }

    /// A file is read up to the limit, and no further, whatever it would become.
    #[test]
    fn content_is_limited() {
        let content = vec![b' '; 1_000_000];
        let small = compressed(&content);
        assert!(small.len() < 10_000);
        for file in [&content, &small] {
            assert_eq!(text(&**file, 1_000_000).expect("it is read"), Ok(content.clone()));
            let read = text(&**file, 999_999).expect("it is read");
            assert_eq!(read, Err("it holds more than 999999 bytes; split it".into()));
        }
        // Two in one, as `cat` makes of them.
        let two = [small.clone(), small.clone()].concat();
        assert_eq!(text(&*two, 2_000_000).expect("it is read").map(|it| it.len()), Ok(2_000_000));
        let torn = text(small.get(..900).expect("more"), 1_000_000).expect("it is read");
        assert!(torn.is_err_and(|it| it.starts_with("it cannot be decompressed: ")));
    }
}
