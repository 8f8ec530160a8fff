//! The kubelet's own list of its pods: `GET /pods` over HTTPS with a service account's token, for which
//! `get` on `nodes/pods` is enough (KubeletFineGrainedAuthz). Names, labels and who made a pod come from there.

use super::{Look, NameSource, SourceName, Wanted, Word, read_bounded};
use crate::http_client::{Bounds, Client, ClientError, Protocol, TlsFiles};
use crate::job::kubernetes::is_pod_uid;
use crate::model::description::{Attribute, Description};
use crate::model::identity::{JobId, JobKind, Name};
use crate::model::reading::Fault;
use bytes::Bytes;
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// 500 pods of 30 kB.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A token has 1 kB.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// The kubelet answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a CronJob puts behind the name of its Jobs: minutes since 1970, before 1.21 seconds.
const TIME_DIGITS: std::ops::RangeInclusive<usize> = 8..=10;

/// Where the kubelet is, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `https://node:10250`.
    pub url: String,
    /// The file with the token; it changes every hour.
    pub token: PathBuf,
    /// The authority that signed the kubelet's certificate.
    pub ca: PathBuf,
    /// Labels that are wanted.
    pub labels: Vec<Name>,
}

/// Asks it.
pub struct Kubelet {
    wish: Wish,
    // Made anew after a failure, with the certificates as they are then.
    client: Option<Client>,
}

impl Kubelet {
    /// Nobody is asked yet.
    #[must_use]
    pub fn new(wish: Wish) -> Kubelet {
        Kubelet { wish, client: None }
    }

    async fn pods(&mut self) -> Result<Vec<u8>, (Fault, String)> {
        let url = format!("{}/pods", self.wish.url.trim_end_matches('/'));
        let token = token(&self.wish.token)?;
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let bounds = Bounds { connect: PATIENCE, answer: PATIENCE, bytes: MAX_ANSWER_BYTES };
                let files = TlsFiles { ca: Some(self.wish.ca.clone()), ..TlsFiles::default() };
                let is_secure = url.starts_with("https:");
                Client::open(Protocol::Http1, is_secure, &files, bounds).map_err(refused)?
            }
        };
        let request = Request::get(&url).header(AUTHORIZATION, token).header(ACCEPT, "application/json");
        let request = request.body(Bytes::new());
        let request = request.map_err(|error| (Fault::Unreachable, format!("{url}: {error}")))?;
        let answer = client.send(request).await.map_err(refused)?;
        match answer.status.as_u16() {
            200 => {}
            401 | 403 => return Err((Fault::PermissionDenied, format!("{url}: {}", answer.status))),
            404 => return Err((Fault::Missing, format!("{url}: {}", answer.status))),
            _ => return Err((Fault::Io, format!("{url}: {}", answer.status))),
        }
        self.client = Some(client);
        Ok(answer.body.to_vec())
    }
}

fn refused(error: ClientError) -> (Fault, String) {
    let fault = match &error {
        ClientError::Connect { cause, .. } if cause.contains("certificate") => Fault::Untrusted,
        ClientError::Connect { .. } | ClientError::Url { .. } => Fault::Unreachable,
        ClientError::Slow { .. } => Fault::Timeout,
        ClientError::Broken { .. } => Fault::Io,
        ClientError::Large { .. } => Fault::Limit,
        ClientError::Redirect { .. } => Fault::Malformed,
        ClientError::File { .. } | ClientError::Identity(_) | ClientError::Roots(_) => Fault::Untrusted,
    };
    (fault, error.to_string())
}

/// The `Authorization` header; the reason of a failure never holds the token.
fn token(path: &Path) -> Result<HeaderValue, (Fault, String)> {
    let unusable = |fault, why: String| (fault, format!("reading {}: {why}", path.display()));
    let bytes = read_bounded(path, MAX_TOKEN_BYTES)
        .map_err(|error| unusable(Fault::from(&error), error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes);
    let value = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|_| unusable(Fault::Malformed, "no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl NameSource for Kubelet {
    const NAME: SourceName = SourceName::Kubelet;
    const REST: Duration = Duration::from_secs(2);
    // Labels can change.
    const REFRESH: Option<Duration> = Some(Duration::from_secs(30));

    async fn look(&mut self, _: &[JobId], all: &Wanted) -> Look {
        let body = match self.pods().await {
            Ok(body) => body,
            Err((fault, detail)) => return Look::failed(fault, detail),
        };
        let detail = format!("{}/pods", self.wish.url.trim_end_matches('/'));
        let Some(pods) = parse(&body, &self.wish.labels) else {
            return Look::failed(Fault::Malformed, detail);
        };
        let words = pods.into_iter().filter_map(|(uid, description)| {
            let id = JobId::new(JobKind::Pod, &uid);
            let word = Word { description, is_last: true, ..Word::default() };
            all.contains_key(&id).then_some((id, word))
        });
        Look { words: words.collect(), outcome: Ok(()), detail, pods: None }
    }
}

#[derive(Deserialize)]
struct PodList {
    #[serde(default)]
    items: Option<Vec<Pod>>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Owner>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Owner {
    kind: String,
    name: String,
    controller: Option<bool>,
}

/// The pods by the UID that their control groups have. A static pod's groups have the hash of its
/// manifest; its mirror in the API has another UID, and the hash in an annotation.
#[must_use]
pub fn parse(body: &[u8], labels: &[Name]) -> Option<HashMap<String, Description>> {
    let list: PodList = serde_json::from_slice(body).ok()?;
    let (mut pods, mut mirrors) = (HashMap::new(), HashMap::new());
    for Pod { metadata } in list.items.unwrap_or_default() {
        let description = describe(&metadata, labels);
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key));
        let hash =
            annotation("kubernetes.io/config.mirror").or_else(|| annotation("kubernetes.io/config.hash"));
        // A hash has no dashes: no annotation can give a pod another's UID.
        if let Some(hash) = hash.filter(|hash| is_pod_uid(hash) && !hash.contains('-')) {
            mirrors.insert(hash.clone(), description.clone());
        }
        if is_pod_uid(&metadata.uid) {
            pods.insert(metadata.uid, description);
        }
    }
    for (hash, description) in mirrors {
        pods.entry(hash).or_insert(description);
    }
    Some(pods)
}

fn describe(pod: &Metadata, labels: &[Name]) -> Description {
    let mut description = Description::default();
    description.set(Attribute::Namespace, &pod.namespace);
    description.set(Attribute::Pod, &pod.name);
    let own = |key: &str| pod.labels.as_ref().and_then(|all| all.get(key));
    let owner = pod.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    // A static pod belongs to its node, which nobody would call its owner.
    if let Some(owner) = owner.filter(|owner| owner.kind != "Node") {
        let (kind, name) = workload(owner, own("pod-template-hash").map(String::as_str));
        description.set(Attribute::WorkloadKind, kind);
        description.set(Attribute::WorkloadName, name);
    }
    for key in labels {
        if let Some(value) = own(key) {
            description.label(key, value);
        }
    }
    description
}

/// What made the pod's owner, as far as the owner's name tells: a Deployment puts the pods' template hash
/// behind the name of its ReplicaSets, a CronJob the time behind that of its Jobs.
fn workload<'a>(owner: &'a Owner, template_hash: Option<&str>) -> (&'a str, &'a str) {
    let above = match (owner.kind.as_str(), owner.name.rsplit_once('-')) {
        ("ReplicaSet", Some((name, hash))) if template_hash == Some(hash) => Some(("Deployment", name)),
        ("Job", Some((name, time)))
            if TIME_DIGITS.contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Some(("CronJob", name))
        }
        _ => None,
    };
    above.filter(|(_, name)| !name.is_empty()).unwrap_or((&owner.kind, &owner.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::names::tests::{look, wanted};
    use proptest::prelude::*;

    const UID: &str = "7b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
    const OTHER: &str = "8b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015";

    fn pods(items: &str) -> HashMap<String, Description> {
        let body = format!(r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{}},"items":{items}}}"#);
        parse(body.as_bytes(), &["team".into()]).expect("a list")
    }

    #[test]
    fn a_pod_has_its_names_its_labels_and_what_made_it() {
        let pod = |labels: &str, owners: &str| {
            let items = format!(
                r#"[{{"metadata":{{"name":"web-6d4b75cb6d-x2k4q","namespace":"shop","uid":"{UID}","labels":{labels},
                "ownerReferences":{owners}}},"spec":{{"containers":[{{"name":"c"}}]}},"status":{{}}}}]"#
            );
            pods(&items).remove(UID).expect("the pod")
        };
        let owner =
            |kind: &str, name: &str| format!(r#"[{{"kind":"{kind}","name":"{name}","controller":true}}]"#);
        let hash = r#"{"pod-template-hash":"6d4b75cb6d","team":"a","other":"b"}"#;
        for (labels, owners, expected) in [
            (hash, owner("ReplicaSet", "web-6d4b75cb6d"), ("Deployment", "web", "a")),
            ("{}", owner("ReplicaSet", "web-6d4b75cb6d"), ("ReplicaSet", "web-6d4b75cb6d", "")),
            ("null", owner("Job", "night-29387520"), ("CronJob", "night", "")),
            ("null", owner("Job", "night-2938752"), ("Job", "night-2938752", "")),
            ("null", owner("Job", "-29387520"), ("Job", "-29387520", "")),
            ("null", owner("StatefulSet", "db"), ("StatefulSet", "db", "")),
            ("null", owner("Node", "n1"), ("", "", "")),
            ("null", r#"[{"kind":"ReplicaSet","name":"x"}]"#.to_owned(), ("", "", "")),
            ("null", "null".to_owned(), ("", "", "")),
        ] {
            let pod = pod(labels, &owners);
            let label = pod.labels().get("team").map_or("", |value| value);
            let found = (pod.get(Attribute::WorkloadKind), pod.get(Attribute::WorkloadName), label);
            assert_eq!(found, expected, "{owners}");
            assert_eq!(
                (pod.get(Attribute::Namespace), pod.get(Attribute::Pod)),
                ("shop", "web-6d4b75cb6d-x2k4q")
            );
        }
    }

    #[test]
    fn a_static_pod_is_found_by_its_hash_and_nobody_takes_another_s_name() {
        let pod = |name: &str, uid: &str, annotations: &str| {
            format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"n","uid":"{uid}","annotations":{annotations}}}}}"#
            )
        };
        let name = |pods: &HashMap<String, Description>, uid: &str| {
            pods.get(uid).map_or("", |pod| pod.get(Attribute::Pod)).to_owned()
        };
        // As the kubelet lists it, and as its mirror in the API.
        let hash =
            format!(r#"{{"kubernetes.io/config.hash":"{HASH}","kubernetes.io/config.source":"file"}}"#);
        let mirror =
            format!(r#"{{"kubernetes.io/config.hash":"{HASH}","kubernetes.io/config.mirror":"{HASH}"}}"#);
        assert_eq!(name(&pods(&format!("[{}]", pod("etcd", HASH, &hash))), HASH), "etcd");
        let of_api = pods(&format!("[{}]", pod("etcd", UID, &mirror)));
        assert_eq!((name(&of_api, HASH), name(&of_api, UID)), ("etcd".into(), "etcd".into()));
        let thief = format!(r#"{{"kubernetes.io/config.hash":"{OTHER}"}}"#);
        let robbed = pods(&format!("[{},{}]", pod("thief", UID, &thief), pod("victim", OTHER, "null")));
        assert_eq!(name(&robbed, OTHER), "victim");
        let thief = format!(r#"{{"kubernetes.io/config.hash":"{HASH}"}}"#);
        let robbed = pods(&format!("[{},{}]", pod("thief", UID, &thief), pod("victim", HASH, "null")));
        assert_eq!(name(&robbed, HASH), "victim");
    }

    #[test]
    fn an_empty_list_is_one_and_anything_else_is_none() {
        assert!(pods("null").is_empty() && pods("[]").is_empty() && pods(r#"[{"metadata":{}}]"#).is_empty());
        for garbage in ["", "{", "Forbidden", r#"{"items":3}"#, r#"{"items":[{}]}"#] {
            assert!(parse(garbage.as_bytes(), &[]).is_none(), "{garbage}");
        }
    }

    /// What comes of asking a server that gives this answer to whoever has the token.
    fn asked(answer: &'static str) -> Look {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut request = [0; 4_096];
            let count = std::io::Read::read(&mut stream, &mut request).expect("a request");
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            std::io::Write::write_all(&mut stream, answer.as_bytes()).expect("it listens");
            request
        });
        let token = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(token.path(), "secret\n").expect("written");
        let wish = Wish { url, token: token.path().to_owned(), ca: PathBuf::new(), labels: Vec::new() };
        let found = look(&mut Kubelet::new(wish), &wanted(&[("pod", UID)]));
        let request = server.join().expect("it does not panic");
        assert!(request.starts_with("GET /pods HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("authorization: bearer secret\r\n"), "{request}");
        found
    }

    #[test]
    fn the_list_is_asked_for_with_the_token_and_what_comes_instead_is_a_fault() {
        let found = asked(
            "HTTP/1.1 200 OK\r\ncontent-length: 105\r\n\r\n{\"items\":[{\"metadata\":{\"name\":\"web-0\",\"namespace\":\
             \"shop\",\"uid\":\"7b2c1a90-11aa-4f0e-9c3d-5e6f70819203\"}}]}",
        );
        assert_eq!((found.outcome, found.words.len()), (Ok(()), 1));
        assert_eq!(found.words[0].1.description.get(Attribute::Pod), "web-0");
        for (answer, fault) in [
            ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", Fault::PermissionDenied),
            ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", Fault::PermissionDenied),
            ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", Fault::Io),
            ("HTTP/1.1 302 Found\r\nlocation: http://evil/\r\ncontent-length: 0\r\n\r\n", Fault::Malformed),
            ("HTTP/1.1 200 OK\r\ncontent-length: 16777217\r\n\r\n", Fault::Limit),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{", Fault::Malformed),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", Fault::Io),
            ("SSH-2.0\r\n", Fault::Io),
        ] {
            let found = asked(answer);
            assert_eq!(found.outcome, Err(fault), "{answer}: {}", found.detail);
            assert!(!found.detail.contains("secret"), "{}", found.detail);
        }
    }

    #[test]
    fn a_token_is_read_and_never_told() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "secret\n").expect("written");
        assert_eq!(token(file.path()).expect("a token"), "Bearer secret");
        std::fs::write(file.path(), "sec\nret").expect("written");
        let (fault, detail) = token(file.path()).expect_err("two lines");
        assert!(fault == Fault::Malformed && !detail.contains("sec\n"), "{detail}");
        assert_eq!(token(Path::new("/nowhere")).expect_err("no file").0, Fault::Missing);
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, &[]);
        }
    }
}
