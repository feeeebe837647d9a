//! `reapctl schema`: the JSON Schema of policies.

use anstream::println;
use session_reaper::policy::schema;

pub(crate) fn run() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&schema())?);
    Ok(())
}
