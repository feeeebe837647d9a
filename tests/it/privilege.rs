//! The role may do what the function does, and nothing else. Every test's sweep is compared with it too.

use reaper_core::report::Mode;
use session_reaper::sweep::source::PolicySource;

use crate::{
    role::{needed, shipped},
    stage::{POLICY, Stage, Wire, fleet},
};

/// The role allows exactly the actions that a sweep needs.
#[tokio::test]
async fn role_has_exactly_the_needed_actions() {
    for mode in [Mode::DryRun, Mode::Enforce] {
        let policy = PolicySource::Parameter("/policy".into());
        let stage = Stage { mode, policy, ..Stage::new(Wire::Socket, fleet(0)) };
        stage.emulator.set_parameter("/policy", POLICY);
        stage.sweep().await;
        assert_eq!(&needed(&stage.emulator), shipped(mode), "{mode:?}");
    }
    let both = [Mode::DryRun, Mode::Enforce].map(shipped);
    let more: Vec<_> = both[1].difference(both[0]).collect();
    assert_eq!(more, ["ssm:TerminateSession"], "what enforcing adds");
}
