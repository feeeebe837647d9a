//! AWS's SDK for Rust as an oracle: of the endpoints that the product calls, and, as a client of its own, of the
//! emulator.

use aws_sdk_resourcegroupstagging::config::endpoint as of_tagging;
use aws_sdk_ssm::config::{Credentials, endpoint as of_ssm};
use aws_sdk_sts::config::endpoint as of_sts;
use futures_util::FutureExt;
use session_manager_emulator::{Organization, OrganizationFleet, serve};
use session_reaper::aws::{SSM, STS, TAGGING, url};
use tokio::net::TcpListener;

/// Every Region of every partition that the SDK knows, and one that may come.
const REGIONS: [&str; 46] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-north-9",
    "us-west-1",
];

macro_rules! of_sdk {
    ($endpoint:ident, $region:expr, $is_fips:expr, $is_dual_stack:expr) => {{
        use $endpoint::ResolveEndpoint;
        let params = $endpoint::Params::builder()
            .region($region)
            .use_fips($is_fips)
            .use_dual_stack($is_dual_stack)
            .build()
            .expect("parameters");
        let endpoint = $endpoint::DefaultResolver::new().resolve_endpoint(&params).now_or_never();
        endpoint.expect("no wait").expect("an endpoint").url().to_owned()
    }};
}

/// In every Region, with FIPS, dual-stack, both and neither.
#[test]
fn endpoints() {
    for region in REGIONS {
        for (is_fips, is_dual_stack) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let config = aws_config::SdkConfig::builder()
                .use_fips(is_fips)
                .use_dual_stack(is_dual_stack)
                .build();
            assert_eq!(
                [SSM, STS, TAGGING].map(|api| url(&config, api, region)),
                [
                    of_sdk!(of_ssm, region, is_fips, is_dual_stack),
                    of_sdk!(of_sts, region, is_fips, is_dual_stack),
                    of_sdk!(of_tagging, region, is_fips, is_dual_stack),
                ],
            );
        }
    }
}

const FLEET: &str = r#"
hub: { account: "999999999999", region: eu-central-1 }
parameters: { /policy: one }
accounts:
  - id: "111111111111"
    role: Reaper
    off: [ap-south-2]
    regions: { eu-central-1: { sessions: [{ id: shop-1, age: 1h }, { id: shop-2, age: 2h }] } }
  - id: "222222222222"
    regions: { eu-central-1: { sessions: [{ id: bank-1, age: 1h }] } }
"#;

/// The keys that the SDK is given for a role see and terminate the sessions of that account, in the Region for
/// which a call is signed, and no others; errors have their codes, and parameters their versions.
#[tokio::test]
async fn emulator() {
    let organization = Organization::new(OrganizationFleet::parse(FLEET).expect("a fleet"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = &format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve(listener, organization.clone()));

    let of_hub = Credentials::new("AKIAHUB", "secret", None, None, "test");
    let config = |keys: &Credentials, region| {
        aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .credentials_provider(aws_sdk_ssm::config::SharedCredentialsProvider::new(keys.clone()))
            .region(aws_config::Region::from_static(region))
            .endpoint_url(url)
            .build()
    };
    let sts = aws_sdk_sts::Client::new(&config(&of_hub, "eu-central-1"));
    for (account, region, expected) in [
        ("111111111111", "eu-central-1", Some(vec!["shop-1", "shop-2"])),
        ("111111111111", "us-east-1", Some(vec![])),
        ("111111111111", "ap-south-2", None),
        ("222222222222", "eu-central-1", Some(vec!["bank-1"])),
    ] {
        let role = format!("arn:aws:iam::{account}:role/Reaper");
        let assumed = sts.assume_role().role_arn(role).role_session_name("reaper").send().await;
        let assumed = assumed.expect("keys");
        let keys = assumed.credentials().expect("keys");
        let (id, secret, token) =
            (keys.access_key_id(), keys.secret_access_key(), keys.session_token());
        let keys = Credentials::new(id, secret, Some(token.to_owned()), None, "test");
        let member = aws_sdk_sts::Client::new(&config(&keys, "eu-central-1"));
        let identity = member.get_caller_identity().send().await.expect("an identity");
        let arn = format!("arn:aws:sts::{account}:assumed-role/Reaper/reaper");
        assert_eq!((identity.account(), identity.arn()), (Some(account), Some(arn.as_str())));

        let ssm = aws_sdk_ssm::Client::new(&config(&keys, region));
        let page = ssm.describe_sessions().state("Active".into()).send().await;
        let Some(expected) = expected else {
            let err = page.expect_err("the Region is off").into_service_error();
            assert_eq!(err.meta().code(), Some("UnrecognizedClientException"));
            continue;
        };
        let ids = |page: &aws_sdk_ssm::operation::describe_sessions::DescribeSessionsOutput| {
            page.sessions().iter().filter_map(|it| it.session_id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&page.expect("a page")), expected, "{account} in {region}");
        for id in expected {
            let terminated = ssm.terminate_session().session_id(id).send().await.expect("accepted");
            assert_eq!(terminated.session_id(), Some(id));
        }
        let page = ssm.describe_sessions().state("Active".into()).send().await.expect("a page");
        assert!(page.sessions().is_empty());
    }

    organization.hub().set_parameter("/policy", "two");
    let ssm = aws_sdk_ssm::Client::new(&config(&of_hub, "eu-central-1"));
    let parameter = ssm.get_parameter().name("/policy:1").send().await.expect("an answer");
    let parameter = parameter.parameter().expect("a parameter");
    assert_eq!(
        (parameter.name(), parameter.value(), parameter.version(), parameter.selector()),
        (Some("/policy"), Some("one"), 1, Some(":1"))
    );
    let err = ssm.get_parameter().name("/policy:3").send().await.expect_err("it has two versions");
    assert!(err.into_service_error().is_parameter_version_not_found());
    assert!(organization.foreign_calls().is_empty());
}
