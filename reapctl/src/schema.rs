//! `reapctl schema`: the JSON Schema of policies.

use reaper_core::policy::schema::schema;

use crate::stdio::println;

pub(crate) fn run() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&schema())?);
    Ok(())
}
