//! REST polling: a request in, everything out, or 304 when that is unchanged, or
//! was refused as it is.
//!
//! Bodies are JSON as protobuf specifies it, or protobuf itself by their
//! content type.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use mainstem_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use mainstem_proto::reflect;
use prost::{Message as _, Name};
use tonic::body::Body;
use tonic::{Code, Status};

use super::poll;
use super::service::Serving;
use crate::names::TypeUrl;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// Answers one poll.
pub(super) async fn answer(
    serving: &Serving,
    type_url: TypeUrl,
    request: http::Request<Body>,
) -> http::Response<Body> {
    match poll(serving, type_url, request).await {
        Ok(response) => response,
        Err(status) => {
            serving.shared.observer.refused(&status);
            text(http_status(status.code()), status.message())
        }
    }
}

async fn poll(
    serving: &Serving,
    type_url: TypeUrl,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status> {
    if request.method() != Method::POST {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "POST a DiscoveryRequest"));
    }
    let Some(format) = Format::of(request.headers()) else {
        return Ok(text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send application/json or application/x-protobuf",
        ));
    };
    let answer_format = Format::accepted(request.headers()).unwrap_or(format);
    let (parts, body) = request.into_parts();
    let credentials = serving.screen(&parts.headers, &parts.extensions)?;
    let limit = serving.shared.config.limits.request_bytes;
    let Ok(body) = Limited::new(body, limit).collect().await else {
        return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "reading the request"));
    };
    let request = format.read(&body.to_bytes())?;
    let held = request.version_info.clone();
    let polled = poll::poll(serving, &type_url, request, &credentials).await?;
    if polled.refused || polled.is(&held) {
        return Ok(response(StatusCode::NOT_MODIFIED, answer_format.content_type(), Bytes::new()));
    }
    let body = answer_format.write(polled.send(serving).to_bytes())?;
    Ok(response(StatusCode::OK, answer_format.content_type(), body))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Protobuf,
}

impl Format {
    /// The format of the request's body; JSON if it does not say.
    fn of(headers: &HeaderMap) -> Option<Format> {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Some(Format::Json) };
        let value = value.to_str().ok()?;
        match value.split(';').next().unwrap_or_default().trim() {
            JSON => Some(Format::Json),
            PROTOBUF | "application/protobuf" => Some(Format::Protobuf),
            _ => None,
        }
    }

    /// The format that the client prefers, if it names one.
    fn accepted(headers: &HeaderMap) -> Option<Format> {
        let accept = headers.get(ACCEPT)?.to_str().ok()?;
        accept.split(',').find_map(|choice| {
            match choice.split(';').next().unwrap_or_default().trim() {
                JSON => Some(Format::Json),
                PROTOBUF | "application/protobuf" => Some(Format::Protobuf),
                _ => None,
            }
        })
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::Protobuf => PROTOBUF,
        }
    }

    fn read(self, body: &[u8]) -> Result<DiscoveryRequest, Status> {
        match self {
            Format::Json => {
                let json = serde_json::from_slice(body).map_err(invalid)?;
                // Newer clients than our descriptors are welcome.
                reflect::from_json_lenient(&json).map_err(invalid)
            }
            Format::Protobuf => DiscoveryRequest::decode(body).map_err(invalid),
        }
    }

    fn write(self, encoded: Bytes) -> Result<Bytes, Status> {
        match self {
            Format::Protobuf => Ok(encoded),
            Format::Json => {
                let json = reflect::encoded_to_json(&DiscoveryResponse::full_name(), &encoded);
                let json = json.map_err(|error| Status::internal(described(&error)))?;
                Ok(json.to_string().into())
            }
        }
    }
}

fn invalid(error: impl std::error::Error) -> Status {
    Status::invalid_argument(format!("reading the request: {}", described(&error)))
}

/// An error with its causes.
fn described(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn text(status: StatusCode, text: &str) -> http::Response<Body> {
    response(status, "text/plain; charset=utf-8", Bytes::from(text.to_owned()))
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::model::budget;

    /// Requests in JSON with anything in the place of a field, and less than JSON.
    fn body() -> impl Strategy<Value = String> {
        let field = prop_oneof![
            Just("version_info"),
            Just("resourceNames"),
            Just("node"),
            Just("type_url"),
            Just("errorDetail"),
            Just("other"),
        ];
        let value = prop_oneof![
            Just("null".to_owned()),
            Just("{\"id\":\"a\",\"metadata\":{\"x\":[{}]}}".to_owned()),
            Just("{\"@type\":\"type.googleapis.com/a.B\"}".to_owned()),
            (0..400usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
            "\\PC{0,8}",
            any::<f64>().prop_map(|number| number.to_string()),
        ];
        let fields = proptest::collection::vec((field, value), 0..4);
        fields.prop_map(|fields| {
            let fields = fields.iter().map(|(name, value)| format!("\"{name}\":{value}"));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        })
    }

    proptest! {
        #![proptest_config(budget())]

        #[test]
        fn no_body_of_a_poll_breaks_the_server(json in body(), bytes in any::<Vec<u8>>()) {
            for (format, body) in [(Format::Json, json.as_bytes()), (Format::Json, &bytes), (Format::Protobuf, &bytes)] {
                if let Err(status) = format.read(body) {
                    prop_assert_eq!(status.code(), Code::InvalidArgument);
                }
            }
        }
    }
}
