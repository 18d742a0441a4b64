//! How clients of a service read its errors: the protocol that they speak decides what an error looks like on the wire.
//!
//! Source: Smithy's "AWS JSON", "AWS restJson1", "AWS restXml", "AWS Query" and "Smithy RPC v2 CBOR" protocols, each
//! under "Operation error serialization"; and "Gateway responses in API Gateway" for `execute-api`.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use postern_wire::AwsError;
use postern_wire::error::ErrorStyle;

use crate::body::{ResponseBody, full};
use crate::route::text;

/// What an error looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `{"__type": …, "message": …}`, with the version of the protocol in the content type.
    Json {
        /// `application/x-amz-json-1.0`.
        content_type: &'static str,
    },
    /// `{"message": …}`, with the code in the header `x-amzn-errortype`.
    RestJson,
    /// The same two members as a CBOR map.
    Cbor,
    /// `<ErrorResponse>`.
    Xml,
    /// EC2's `<Response><Errors>`.
    Ec2,
    /// S3's `<Error>`.
    S3,
    /// API Gateway's `{"message": …}`, as an API of a user's answers.
    ExecuteApi,
}

impl Dialect {
    /// The version of AWS's JSON protocol that a request speaks.
    pub fn json_of(parts: &Parts) -> Self {
        let newer =
            text(&parts.headers, CONTENT_TYPE.as_str()).is_some_and(|value| value.contains("json-1.1"));
        let content_type = if newer { "application/x-amz-json-1.1" } else { "application/x-amz-json-1.0" };
        Self::Json { content_type }
    }

    /// What the request itself says of how its sender reads errors, where it says anything.
    pub fn said_by(parts: &Parts) -> Option<Self> {
        let speaks = |word: &str| {
            text(&parts.headers, CONTENT_TYPE.as_str())
                .is_some_and(|content_type| content_type.contains(word))
        };
        if text(&parts.headers, "smithy-protocol") == Some("rpc-v2-cbor") {
            Some(Self::Cbor)
        } else if speaks("amz-json") || parts.headers.contains_key("x-amz-target") {
            Some(Self::json_of(parts))
        } else if speaks("x-www-form-urlencoded") {
            Some(Self::Xml)
        } else {
            None
        }
    }

    /// The words that signatures are refused with.
    pub fn style(self) -> ErrorStyle {
        match self {
            Self::Json { content_type } => ErrorStyle::Json { content_type },
            Self::RestJson | Self::Cbor | Self::ExecuteApi => {
                ErrorStyle::Json { content_type: "application/json" }
            }
            Self::Xml => ErrorStyle::Query { xml_namespace: XML_NAMESPACE },
            Self::Ec2 => ErrorStyle::Ec2,
            Self::S3 => ErrorStyle::S3,
        }
    }

    /// The service cannot be had now, in its words.
    pub fn unavailable(self, why: impl Into<String>) -> AwsError {
        let code = match self {
            Self::Json { .. } | Self::RestJson | Self::Cbor => "ServiceUnavailableException",
            Self::Xml | Self::S3 | Self::ExecuteApi => "ServiceUnavailable",
            Self::Ec2 => "Unavailable",
        };
        AwsError::new(code, why).with_status(503)
    }

    /// The caller may not, in its words.
    pub fn denied(self, why: impl Into<String>) -> AwsError {
        match self {
            // "AccessDeniedException … HTTP Status Code: 400" ("Common errors" of AWS's JSON services).
            Self::Json { .. } => AwsError::new("AccessDeniedException", why),
            Self::RestJson | Self::Cbor | Self::ExecuteApi => {
                AwsError::new("AccessDeniedException", why).with_status(403)
            }
            Self::Xml | Self::S3 => AwsError::new("AccessDenied", why).with_status(403),
            Self::Ec2 => AwsError::new("UnauthorizedOperation", why).with_status(403),
        }
    }

    /// An error as a response.
    pub fn response(self, error: &AwsError, request_id: &str) -> Response<ResponseBody> {
        let (content_type, body): (&'static str, Vec<u8>) = match self {
            Self::Json { .. } | Self::Xml | Self::Ec2 | Self::S3 => {
                let body = error.body(self.style(), request_id, None);
                (body.content_type, body.body.into_bytes())
            }
            Self::RestJson | Self::ExecuteApi => {
                let document = serde_json::json!({ "message": error.message });
                ("application/json", document.to_string().into_bytes())
            }
            Self::Cbor => ("application/cbor", cbor(error)),
        };
        let mut response = Response::new(full(body));
        *response.status_mut() =
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        add(if self == Self::S3 { "x-amz-request-id" } else { "x-amzn-requestid" }, request_id);
        match self {
            Self::RestJson | Self::ExecuteApi => add("x-amzn-errortype", &error.code),
            Self::Cbor => add("smithy-protocol", "rpc-v2-cbor"),
            Self::Json { .. } | Self::Xml | Self::Ec2 | Self::S3 => {}
        }
        response
    }
}

/// Of an error that belongs to no service in particular.
const XML_NAMESPACE: &str = "http://webservices.amazon.com/AWSFault/2005-15-09";

/// A map of two texts (RFC 8949: major type 5, then of each text its major type 3 and its length).
fn cbor(error: &AwsError) -> Vec<u8> {
    let mut document = vec![0xa2];
    for text in ["__type", &error.code, "message", &error.message] {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        document.push(0x7a);
        document.extend_from_slice(&length.to_be_bytes());
        document.extend_from_slice(text.as_bytes());
    }
    document
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn each_protocol_has_its_own_errors() {
        let error = AwsError::new("ServiceUnavailable", "It is not \"there\".").with_status(503);
        let json = Dialect::Json { content_type: "application/x-amz-json-1.1" };
        for (dialect, content_type, expected) in [
            (
                json,
                "application/x-amz-json-1.1",
                r#"{"__type":"ServiceUnavailable","message":"It is not \"there\"."}"#,
            ),
            (Dialect::RestJson, "application/json", r#"{"message":"It is not \"there\"."}"#),
            (Dialect::ExecuteApi, "application/json", r#"{"message":"It is not \"there\"."}"#),
            (
                Dialect::Cbor,
                "application/cbor",
                "\u{fffd}z\0\0\0\u{6}__typez\0\0\0\u{12}ServiceUnavailablez\0\0\0\u{7}messagez\0\0\0\u{12}It is not \"there\".",
            ),
        ] {
            let response = dialect.response(&error, "an-id");
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["content-type"], content_type);
            assert_eq!(response.headers()["x-amzn-requestid"], "an-id");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(String::from_utf8_lossy(&body), expected, "{dialect:?}");
        }
        for (dialect, root) in
            [(Dialect::Xml, "<ErrorResponse"), (Dialect::Ec2, "<Response>"), (Dialect::S3, "<Error>")]
        {
            let body = dialect.response(&error, "an-id").into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains(root), "{dialect:?}");
        }
        assert_eq!(
            Dialect::RestJson.response(&error, "id").headers()["x-amzn-errortype"],
            "ServiceUnavailable"
        );
    }

    #[test]
    fn a_request_says_how_it_reads_errors() {
        let said = |name: &str, value: &str| {
            let request = Request::builder().header(name, value).body(()).unwrap();
            Dialect::said_by(&request.into_parts().0)
        };
        assert_eq!(
            said("content-type", "application/x-amz-json-1.1"),
            Some(Dialect::Json { content_type: "application/x-amz-json-1.1" })
        );
        assert_eq!(
            said("x-amz-target", "Logs.Describe"),
            Some(Dialect::Json { content_type: "application/x-amz-json-1.0" })
        );
        assert_eq!(said("smithy-protocol", "rpc-v2-cbor"), Some(Dialect::Cbor));
        assert_eq!(
            said("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            Some(Dialect::Xml)
        );
        assert_eq!(said("content-type", "application/json"), None);
    }
}
