//! Who may do what.
//!
//! | path | from this host | from elsewhere |
//! |---|---|---|
//! | `/live`, `/ready`, `/metrics` | everybody | everybody |
//! | what reads | everybody | who has the admin token |
//! | registrations, to read | everybody | who has the admin token, or one of the registry |
//! | registrations, to change | who has the admin token, or one of the registry | the same |
//! | what else changes something | who has the admin token | who has the admin token |

use std::net::SocketAddr;
use std::path::Path;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use ring::digest::{SHA256, digest};

use super::audit::Record;
use super::handlers::failure;
use super::{App, registrations};
use crate::config::Config;

/// What anybody may ask for, from wherever.
const OPEN: [&str; 3] = ["/live", "/ready", "/metrics"];

/// The least that a token must have, in bytes.
const SHORTEST: usize = 16;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token presented.
    pub token: Option<String>,
    /// Whether that is an admin token.
    pub operator: bool,
    /// Where from.
    pub peer: Option<SocketAddr>,
}

/// Why somebody may not, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 401, 403, or 500 where the server's own file is at fault.
    pub status: StatusCode,
    /// For people.
    pub message: String,
}

/// Lets through who may ask for what is asked.
pub async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| *peer);
    let (path, changes) = (request.uri().path(), !reads(request.method()));
    if !needs_token(path, changes, peer) {
        return next.run(request).await;
    }
    let config = app.current.borrow().config.clone();
    match enter(request.headers(), &doors(&config, path)) {
        Ok((token, operator)) => {
            request.extensions_mut().insert(Caller { token: Some(token), operator, peer });
            next.run(request).await
        }
        Err(refused) => {
            if changes {
                let who = Caller { peer, ..Caller::default() };
                app.audit(Record::refused(&who, path, &refused.message));
            }
            let mut response = failure(refused.status, refused.message);
            if refused.status == StatusCode::UNAUTHORIZED {
                let challenge = header::HeaderValue::from_static("Bearer realm=\"mainstem\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// Whether whoever comes from `peer` has to present a token.
fn needs_token(path: &str, changes: bool, peer: Option<SocketAddr>) -> bool {
    let local = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    !OPEN.contains(&path) && (changes || !local)
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A file of tokens that let in.
struct Door<'a> {
    /// Whether they are admin tokens.
    operator: bool,
    /// What one of them is called.
    token: &'static str,
    /// The setting that names the file.
    setting: &'static str,
    file: Option<&'a Path>,
}

/// What lets in to the path.
fn doors<'a>(config: &'a Config, path: &str) -> Vec<Door<'a>> {
    let admin = Door {
        operator: true,
        token: "the admin token",
        setting: "admin.tokenFile",
        file: config.admin.token_file.as_deref(),
    };
    let Some(registry) = registrations::registry_of(path) else { return vec![admin] };
    let own = registrations::settings(config, &registry).and_then(|c| c.token_file.as_deref());
    let registrant = Door {
        operator: false,
        token: "a token of the registry",
        setting: "the registry's tokenFile",
        file: own,
    };
    vec![registrant, admin]
}

/// The name of the token that is presented, by the first door that knows it, and whether
/// it is an admin token.
fn enter(headers: &HeaderMap, doors: &[Door<'_>]) -> Result<(String, bool), Refused> {
    let all =
        |say: fn(&Door<'_>) -> &'static str| doors.iter().map(say).collect::<Vec<_>>().join(" or ");
    let (tokens, settings) = (all(|door| door.token), all(|door| door.setting));
    if doors.iter().all(|door| door.file.is_none()) {
        let message = format!(
            "nobody may do this: the configuration names no file with {tokens}; set `{settings}`"
        );
        return Err(Refused { status: StatusCode::FORBIDDEN, message });
    }
    let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(presented) = presented.and_then(bearer) else {
        let message = format!(
            "this needs {tokens}: name its file with --token-file or \
             MAINSTEM_ADMIN_TOKEN_FILE (as HTTP: `authorization: Bearer TOKEN`)"
        );
        return Err(Refused { status: StatusCode::UNAUTHORIZED, message });
    };
    let mut unreadable = None;
    for door in doors {
        match door.known(presented) {
            Ok(Some(name)) => return Ok((name, door.operator)),
            Ok(None) => {}
            Err(refused) => unreadable = Some(refused),
        }
    }
    Err(unreadable.unwrap_or_else(|| Refused {
        status: StatusCode::FORBIDDEN,
        message: format!(
            "the token presented is not {tokens} of this control plane: is it in the file that \
             `{settings}` names?"
        ),
    }))
}

impl Door<'_> {
    /// The name that the token has in the file.
    fn known(&self, presented: &str) -> Result<Option<String>, Refused> {
        let Some(file) = self.file else { return Ok(None) };
        // Read anew each time: whoever replaces the file need not tell anybody.
        let known = std::fs::read_to_string(file)
            .map_err(|error| error.to_string())
            .and_then(|text| tokens(&text))
            .map_err(|error| Refused {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message: format!("{} cannot be read from {}: {error}", self.token, file.display()),
            })?;
        // All are compared, whichever fits: the time tells nothing.
        let fitting = known.into_iter().filter(|(_, token)| same(token, presented));
        Ok(fitting.fold(None, |first, (name, _)| first.or(Some(name))))
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The tokens of a file, each with its name: a line is `TOKEN` or `NAME:TOKEN`.
fn tokens(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut all = Vec::new();
    for line in lines {
        let (name, token) = line.split_once(':').unwrap_or(("admin", line));
        let (name, token) = (name.trim(), token.trim());
        if token.len() < SHORTEST {
            return Err(format!("the token named {name} has less than {SHORTEST} characters"));
        }
        all.push((name.to_owned(), token.to_owned()));
    }
    if all.is_empty() { Err("no token is in it".to_owned()) } else { Ok(all) }
}

/// Whether two secrets are the same, in a time that tells nothing of either.
fn same(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|text| digest(&SHA256, text.as_bytes()));
    let pairs = one.as_ref().iter().zip(other.as_ref());
    pairs.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    const TOKEN: &str = "0123456789abcdef";

    fn presenting(header: Option<&str>, file: Option<&str>) -> Result<String, u16> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let file = file.map(|_| path.as_path());
        let door = Door { operator: true, token: "the token", setting: "tokenFile", file };
        enter(&headers, &[door]).map(|(name, _)| name).map_err(|refused| refused.status.as_u16())
    }

    #[rstest]
    #[case("0123456789abcdef\n", "Bearer 0123456789abcdef", Ok("admin"))]
    #[case(
        "# who\nanna: 0123456789abcdef\nben:fedcba9876543210\n",
        "bearer fedcba9876543210",
        Ok("ben")
    )]
    #[case("0123456789abcdef", "Bearer 0123456789abcdeX", Err(403))]
    #[case("0123456789abcdef", "Bearer 0123456789abcdef0", Err(403))]
    #[case("0123456789abcdef", "Basic 0123456789abcdef", Err(401))]
    #[case("short", "Bearer short", Err(500))]
    #[case("\n# none\n", "Bearer ", Err(500))]
    fn a_token_of_the_file_is_let_in_under_its_name(
        #[case] file: &str,
        #[case] header: &str,
        #[case] expected: Result<&str, u16>,
    ) {
        assert_eq!(presenting(Some(header), Some(file)), expected.map(str::to_owned));
    }

    #[rstest]
    #[case("/metrics", false, "10.0.0.1:1", false)]
    #[case("/api/v1/status", false, "127.0.0.1:1", false)]
    #[case("/api/v1/status", false, "[::1]:1", false)]
    #[case("/api/v1/status", false, "[::ffff:127.0.0.1]:1", false)]
    #[case("/api/v1/status", false, "10.0.0.1:1", true)]
    #[case("/api/v1/drain", true, "127.0.0.1:1", true)]
    fn reading_is_open_to_this_host_alone_and_changing_to_nobody(
        #[case] path: &str,
        #[case] changes: bool,
        #[case] peer: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(needs_token(path, changes, peer.parse().ok()), expected);
        assert!(needs_token("/api/v1/status", false, None));
    }

    #[test]
    fn without_a_token_nobody_is_let_in() {
        assert_eq!(presenting(None, Some(TOKEN)), Err(401));
        assert_eq!(presenting(Some("Bearer x"), None), Err(403));
    }
}
