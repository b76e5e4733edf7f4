//! Who may do what.
//!
//! | path | from this host | from elsewhere |
//! |---|---|---|
//! | `/live`, `/ready`, `/metrics` | everybody | everybody |
//! | what reads | everybody | who has the admin token |
//! | what changes something | who has the admin token | who has the admin token |

use std::net::SocketAddr;
use std::path::Path;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use ring::digest::{SHA256, digest};

use super::App;
use super::audit::Record;
use super::handlers::failure;

/// What anybody may ask for, from wherever.
const OPEN: [&str; 3] = ["/live", "/ready", "/metrics"];

/// The least that a token must have, in bytes.
const SHORTEST: usize = 16;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token presented.
    pub token: Option<String>,
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
    let file = app.current.borrow().config.admin.token_file.clone();
    match admit(request.headers(), file.as_deref()) {
        Ok(token) => {
            request.extensions_mut().insert(Caller { token: Some(token), peer });
            next.run(request).await
        }
        Err(refused) => {
            if changes {
                let who = Caller { token: None, peer };
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

/// The name of the token that is presented, if it is in the file.
fn admit(headers: &HeaderMap, file: Option<&Path>) -> Result<String, Refused> {
    let Some(file) = file else {
        let message = "nobody may do this: the configuration names no admin token; set \
                       `admin.tokenFile` to a file with a token";
        return Err(Refused { status: StatusCode::FORBIDDEN, message: message.to_owned() });
    };
    let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(presented) = presented.and_then(bearer) else {
        let message = "this needs the admin token: name its file with --token-file or \
                       MAINSTEM_ADMIN_TOKEN_FILE (as HTTP: `authorization: Bearer TOKEN`)";
        return Err(Refused { status: StatusCode::UNAUTHORIZED, message: message.to_owned() });
    };
    // Read anew each time: whoever replaces the file need not tell anybody.
    let known = std::fs::read_to_string(file)
        .map_err(|error| error.to_string())
        .and_then(|text| tokens(&text))
        .map_err(|error| Refused {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: format!("the admin token cannot be read from {}: {error}", file.display()),
        })?;
    let mut found = None;
    for (name, token) in &known {
        if same(token, presented) {
            found.get_or_insert(name);
        }
    }
    found.cloned().ok_or_else(|| Refused {
        status: StatusCode::FORBIDDEN,
        message: "the token presented is not an admin token of this control plane: is it the \
                  content of its `admin.tokenFile`?"
            .to_owned(),
    })
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
        admit(&headers, file.map(|_| path.as_path())).map_err(|refused| refused.status.as_u16())
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
