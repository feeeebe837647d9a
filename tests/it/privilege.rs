//! The role may do what the function does, and nothing else. Every test's sweep is compared with it too.

use reaper_core::{evidence::Demand, report::Mode};
use session_reaper::sweep::source::PolicySource;

use crate::{
    role::{needed, read, shipped},
    stage::{Stage, Wire, fleet},
};

/// Everything that a policy may ask for.
const POLICY: &str = "
version: 1
rules: [{ id: a, when: { session_type: Port, target_tags: { env: dev } }, forbid: true }]
tag_keys: [env]
limits: { circuit_breaker: { max_percent: 100 } }
";

/// The role allows exactly the actions that a sweep needs. It may read documents only if the template's
/// parameter says so, send events only if another names a bus, and write evidence only if another does.
#[tokio::test]
async fn role_has_exactly_the_needed_actions() {
    for mode in [Mode::DryRun, Mode::Enforce] {
        let mut fleet = fleet(0);
        fleet.sessions.truncate(1);
        fleet.sessions[0].document = Some("Team-DbTunnel".into());
        fleet.documents.insert("Team-DbTunnel".into(), "Port".into());
        let policy = PolicySource::Parameter("/policy".into());
        let stage = Stage {
            mode,
            policy,
            has_bus: true,
            evidence: Some(Demand::Required),
            ..Stage::new(Wire::Socket, fleet)
        };
        stage.emulator.set_parameter("/policy", POLICY);
        stage.sweep().await;
        assert_eq!(&needed(&stage.emulator), shipped(mode), "{mode:?}");
        for (without, action) in [
            (read(mode, &["ReadsDocuments"]), "ssm:GetDocument"),
            (read(mode, &["HasEventBus"]), "events:PutEvents"),
            (read(mode, &["Records"]), "s3:PutObject"),
        ] {
            let more: Vec<_> = shipped(mode).difference(&without).collect();
            assert_eq!(more, [action], "what the parameter adds");
        }
    }
    let both = [Mode::DryRun, Mode::Enforce].map(shipped);
    let more: Vec<_> = both[1].difference(both[0]).collect();
    assert_eq!(more, ["ssm:TerminateSession"], "what enforcing adds");
}
