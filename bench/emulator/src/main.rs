//! The emulator for the benchmark: `bench-emulator SESSIONS LATENCY_MS QUOTA [CHAIN KEY]`, or
//! `bench-emulator organization ACCOUNTS REGION,… SESSIONS EVERY LATENCY_MS THROTTLES [CHAIN KEY]`.
//!
//! One session in ten is 13 hours old, one in ten an hour, the others some minutes; the one in ten
//! of an hour are on targets with tags. QUOTA 0 is none. With a chain and a key it speaks TLS.
//! It prints its address. When its standard input ends, it prints the calls that it received, and exits.

mod organization;

use std::{collections::BTreeMap, error::Error, net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use jiff::SignedDuration;
use organization::Shape;
use serde_json::json;
use session_manager_emulator::{Behaviour, Call, Emulator, Fleet, Seed, serve};
use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tower::Service;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "organization"
    {
        let (shape, tls) = rest.split_at(rest.len().min(6));
        let shape = Shape::parse(shape)?;
        let organization = shape.organization();
        listen(organization.clone(), tls).await?;
        println!("{}", shape.report(&organization));
        return Ok(());
    }
    let [sessions, latency_ms, quota, tls @ ..] = arguments.as_slice() else {
        return Err("say: SESSIONS LATENCY_MS QUOTA [CHAIN KEY]".into());
    };
    let behaviour = Behaviour {
        latency: Duration::from_millis(latency_ms.parse()?),
        quota: Some(quota.parse()?).filter(|it| *it != 0),
        ..Behaviour::default()
    };
    let emulator = Emulator::new(fleet(sessions.parse()?, behaviour));

    listen(emulator.clone(), tls).await?;
    println!("{}", report(&emulator));
    Ok(())
}

/// Serves until the standard input ends.
async fn listen<S>(service: S, tls: &[String]) -> Result<(), Box<dyn Error>>
where
    S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + 'static,
    S::Error: Error + Send + Sync + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(serve(listener, service));
    if let [chain, key] = tls {
        let plain = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        url = format!("https://localhost:{}", listener.local_addr()?.port());
        tokio::spawn(terminate_tls(listener, acceptor(chain, key)?, plain));
    }
    println!("{url}");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

fn fleet(n: usize, behaviour: Behaviour) -> Fleet {
    let (sessions, tags) = seeds(n, "");
    Fleet { sessions, tags, behaviour, ..Fleet::default() }
}

type Tags = BTreeMap<String, BTreeMap<String, String>>;

/// Sessions whose ids end so, and the tags of their targets.
fn seeds(n: usize, suffix: &str) -> (Vec<Seed>, Tags) {
    let (mut sessions, mut tags) = (Vec::new(), BTreeMap::new());
    for i in 0..n {
        let (name, minutes) = match i % 10 {
            3 => ("violator", 13 * 60),
            7 => ("tagged", 60),
            _ => ("other", 5),
        };
        let target = format!("i-{i:017x}");
        // Less than a minute apart, so that no age is near a limit.
        let age = SignedDuration::from_mins(minutes)
            + SignedDuration::from_micros(i64::try_from(i).unwrap_or(0) * 500);
        if name == "tagged" {
            tags.insert(target.clone(), BTreeMap::from([("env".into(), "dev".into())]));
        }
        sessions.push(Seed {
            id: Some(format!("{name}-{i:017x}{suffix}")),
            owner: Some(format!(
                "arn:aws:sts::123456789012:assumed-role/developer/jane.doe{}@example.com",
                i % 100
            )),
            target: Some(target),
            age: Some(age),
            document: Some("SSM-SessionManagerRunShell".into()),
            reason: Some("INC-12345: disk full on the build host".into()),
            access_type: Some("Standard".into()),
            ..Seed::default()
        });
    }
    (sessions, tags)
}

fn acceptor(chain: &str, key: &str) -> Result<TlsAcceptor, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn terminate_tls(listener: TcpListener, acceptor: TlsAcceptor, plain: String) {
    while let Ok((stream, _peer)) = listener.accept().await {
        let (acceptor, plain) = (acceptor.clone(), plain.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let mut inner = TcpStream::connect(plain).await?;
            inner.set_nodelay(true)?;
            let mut outer = acceptor.accept(stream).await?;
            copy_bidirectional(&mut outer, &mut inner).await
        });
    }
}

fn report(emulator: &Emulator) -> serde_json::Value {
    let calls = emulator.calls();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for it in &calls {
        *count.entry(it.operation.clone()).or_default() += 1;
    }
    let throttled = calls.iter().filter(|it| it.error.as_deref() == Some("ThrottlingException"));
    let of = |name: &'static str| {
        calls.iter().filter(move |it| it.operation == name).map(|it| it.at.as_secs_f64())
    };
    let alive = emulator.active_ids();
    let is_alive = |name: &str| alive.iter().filter(|it| it.starts_with(name)).count();
    json!({
        "calls": count,
        "throttled": throttled.count(),
        "first_call_s": calls.first().map(|it: &Call| it.at.as_secs_f64()),
        "first_termination_s": of("TerminateSession").next(),
        "last_termination_s": of("TerminateSession").last(),
        "violators_alive": is_alive("violator"),
        "others_alive": alive.len() - is_alive("violator"),
    })
}
