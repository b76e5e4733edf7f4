//! Tokens for tests, and a server of the keys that they are signed with.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::background::Background;
use crate::claim::free_port;

/// Signs tokens (ES256) with a new key.
pub struct TokenIssuer {
    issuer: String,
    id: String,
    key: EcdsaKeyPair,
}

impl TokenIssuer {
    /// An issuer of this name, with a key of its own.
    pub fn new(issuer: &str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("ring makes keys");
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .expect("ring reads its own keys");
        let id = encode(&key.public_key().as_ref()[1..9]);
        Self { issuer: issuer.to_owned(), id, key }
    }

    /// A token with these claims, and `iss` unless they say it; `null` leaves a
    /// claim out.
    pub fn mint(&self, claims: &Value) -> String {
        self.mint_as(claims, &json!({ "alg": "ES256", "kid": self.id }))
    }

    /// The same with any header; signed as ever.
    pub fn mint_as(&self, claims: &Value, header: &Value) -> String {
        let mut all = json!({ "iss": self.issuer });
        let (all_claims, own) = (all.as_object_mut(), claims.as_object());
        let (all_claims, own) = all_claims.zip(own).expect("claims are an object");
        all_claims.extend(own.clone());
        all_claims.retain(|_, value| !value.is_null());
        let message = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(all.to_string().as_bytes())
        );
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.expect("ring signs anything");
        format!("{message}.{}", encode(signature.as_ref()))
    }

    /// The public key.
    pub fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
            "x": encode(&point[1..33]), "y": encode(&point[33..65]),
        })
    }

    /// The set of its public keys.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Serves a JWK set on loopback, and a discovery document that leads to it, as the
/// issuer whose name is its [`url`](Self::url).
#[derive(Debug)]
pub struct KeyServer {
    address: SocketAddr,
    state: Arc<State>,
    _background: Background,
}

#[derive(Debug)]
struct State {
    address: SocketAddr,
    /// Nothing answers well without.
    keys: Mutex<Option<Value>>,
    requests: AtomicU64,
}

impl KeyServer {
    /// Serves this set on a free port.
    pub fn start(keys: &Value) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let keys = Mutex::new(Some(keys.clone()));
        let state = Arc::new(State { address, keys, requests: AtomicU64::new(0) });
        let shared = Arc::clone(&state);
        let background = Background::start(None, async move || {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| format!("listening on {address}: {error}"))?;
            Ok(serve(listener, shared))
        });
        Self { address, state, _background: background }
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the set is.
    pub fn keys_url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Serves another set from now on.
    pub fn serve(&self, keys: &Value) {
        *self.state.keys.lock() = Some(keys.clone());
    }

    /// Answers 500 from now on.
    pub fn fail(&self) {
        *self.state.keys.lock() = None;
    }

    /// How often the set was asked for.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                std::future::ready(Ok::<_, Infallible>(state.answer(&request)))
            });
            // A caller may leave at any time.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        let url = format!("http://{}", self.address);
        let keys = self.keys.lock().clone();
        let body = match (request.uri().path(), keys) {
            ("/.well-known/openid-configuration", Some(_)) => {
                json!({ "issuer": url, "jwks_uri": format!("{url}/keys") })
            }
            ("/keys", Some(keys)) => {
                self.requests.fetch_add(1, Ordering::SeqCst);
                keys
            }
            _ => return failure(),
        };
        Response::new(body.to_string())
    }
}

fn failure() -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
