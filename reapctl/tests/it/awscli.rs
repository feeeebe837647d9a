//! The AWS CLI's commands, on the emulator.

use jiff::Timestamp;

use crate::{Account, Output, TARGET, check_golden, devs, emulate, reapctl, with_full_output};

/// Most of the lines stand in `tests/smoke/command_lines.txt` too, where the AWS CLI says the same.
#[tokio::test]
async fn aws_cli_commands() {
    let smoke = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/smoke");
    let (_child, address) = emulate(&format!("{smoke}/fleets/mixed.yaml")).await;
    let url = format!("http://{address}");
    let variables = [
        ("AWS_ACCESS_KEY_ID", "emulator"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_SECRET_ACCESS_KEY", "emulator"),
    ];
    let timmy = "key=Owner,value=arn:aws:iam::123456789012:user/timmy";
    let query = "Sessions[].{Id:SessionId,At:StartDate,\"The owner\":Owner}";
    let mut actual = String::new();
    for words in [
        vec!["--state", "Active", "--max-items", "2"],
        vec!["--state", "Active", "--max-items", "3", "--page-size", "2", "--output", "text"],
        vec!["--state", "History", "--output", "table"],
        vec!["--state", "Active", "--query", query, "--output", "table"],
        vec!["--state", "Active", "--filters", timmy, "--query", "Sessions[].SessionId"],
        vec!["--state", "Active", "--filters", "key=Owner,value=a,b"],
        vec!["--state", "Active", "--filters", "key=owner,value=x"],
        vec!["--state", "Active", "--query", "Sessions]"],
        vec!["--state", "active"],
        vec!["--bogus"],
        vec!["--generate-cli-skeleton"],
    ] {
        let all: Vec<_> = ["describe-sessions"].into_iter().chain(words.iter().copied()).collect();
        let Output { status, stdout, stderr } = reapctl(&all, &variables).await;
        let status = status.expect("a status").to_string();
        let words = words.join(" ");
        actual.extend(["=== ", &words, ": ", &status, "\n", &stdout, "--- stderr\n", &stderr]);
    }
    check_golden("describe_sessions.txt", &actual);

    let id = "timmy-0a1b2c3d4e5f60002";
    let terminated = reapctl(&["terminate-session", "--session-id", id], &variables).await;
    assert_eq!(terminated.stdout, format!("{{\n    \"SessionId\": \"{id}\"\n}}\n"));
    let listed = ["describe-sessions", "--state", "Active", "--output", "text"];
    assert!(!reapctl(&listed, &variables).await.stdout.contains(id));
}

/// In the shape of version 2 of the AWS CLI, dates are texts, and the exit status is that of the error's kind.
#[tokio::test]
async fn cli_version_2() {
    let account = Account::new().await;
    let listing = "describe-sessions --state Active";
    let with = async |line: &str, unset: &str| {
        let variables = account.variables().into_iter().filter(|(name, _)| *name != unset);
        let variables: Vec<_> = variables.chain([("REAPCTL_CLI_VERSION", "2")]).collect();
        reapctl(&line.split(' ').collect::<Vec<_>>(), &variables).await
    };
    let date = with(&format!("{listing} --query Sessions[0].StartDate"), "").await.stdout;
    let date: String = serde_json::from_str(&date).expect("a text");
    assert!(date.ends_with("+00:00") && date.parse::<Timestamp>().is_ok(), "{date}");
    let id =
        with(&format!("{listing} --query Sessions[0].SessionId --output text"), "").await.stdout;
    let id = id.trim_end();
    for (options, yaml) in [
        (
            "--output yaml --query Sessions[:1].{Id:SessionId,No:`\"no\"`}",
            format!("- Id: {id}\n  No: no\n"),
        ),
        (
            "--output yaml --query [Sessions[:1].SessionId][*].[@,@]",
            format!("- - &id001\n    - {id}\n  - *id001\n"),
        ),
        (
            "--output yaml-stream --page-size 1 --max-items 1 --query Sessions[].SessionId",
            format!("- - {id}\n"),
        ),
        ("--output yaml --no-cli-pager --query Sessions[0].SessionId", format!("\"{id}\"\n")),
    ] {
        let output = with(&format!("{listing} {options}"), "").await;
        assert_eq!((output.status, output.stdout), (Some(0), yaml), "{options}: {}", output.stderr);
    }
    let yaml = format!("{listing} --output yaml");
    let words: Vec<_> = yaml.split(' ').collect();
    assert_eq!(
        reapctl(&words, &account.variables()).await.status,
        Some(2),
        "no format of version 1"
    );
    for (one, two, line, message) in [
        (2, 252, "describe-sessions".to_owned(), "are required: --state"),
        (255, 252, format!("{listing} --bogus"), "Unknown options: --bogus"),
        (255, 252, format!("{listing} --filters key=Owner"), "Missing required parameter"),
        (255, 252, format!("{listing} --filters {{"), "Invalid JSON: Expecting"),
        (255, 252, format!("{listing} --query Sessions["), "Bad value for --query"),
        (255, 252, format!("{listing} --endpoint-url x"), "Bad value for --endpoint-url"),
        (255, 254, format!("{listing} --filters key=owner,value=x"), "InvalidFilterKey"),
        (255, 255, format!("{listing} --max-results x"), "invalid literal for int()"),
        (2, 2, format!("{listing} --cli-version 3"), "invalid choice: '3' (choose from 1, 2)"),
    ] {
        let output = with(&line, "").await;
        assert_eq!(output.status, Some(two), "{line}: {}", output.stderr);
        assert!(output.stderr.contains(message), "{line}: {}", output.stderr);
        let words: Vec<_> = line.split(' ').chain(["--cli-version=1"]).collect();
        let words =
            if line.contains("--cli-version 3") { &words[..words.len() - 1] } else { &words };
        assert_eq!(reapctl(words, &account.variables()).await.status, Some(one), "{line}");
    }
    let no_region = with(listing, "AWS_REGION").await;
    assert_eq!(no_region.status, Some(253), "{}", no_region.stderr);
    assert!(no_region.stderr.starts_with("\nYou must specify a region."), "{}", no_region.stderr);
    let no_paging = with(&format!("{listing} --no-paginate --max-items 1"), "").await;
    assert_eq!(no_paging.status, Some(252));
    assert!(no_paging.stderr.starts_with("\nCannot specify --no-paginate"), "{}", no_paging.stderr);
}

/// The AWS CLI's commands fail if standard output cannot be written.
#[tokio::test]
async fn full_standard_output_of_the_aws_cli() {
    let account = devs("full-listing.yaml", &[&format!("jo {TARGET}")], "").await;
    for words in ["--output json", "--output text", "--output table", "--generate-cli-skeleton"] {
        let listing =
            ["describe-sessions", "--state", "Active"].into_iter().chain(words.split(' '));
        let (status, stderr) = with_full_output(&account, listing).await;
        assert_eq!(status, Some(255), "{words}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: No space"), "{words}: {stderr}");
    }
}
